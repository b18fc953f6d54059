import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';

/** PostgreSQL looks for deadlocks in waits that last this long (`deadlock_timeout`). */
const DEADLOCK_MILLISECONDS = 1_000;
/** The machine may be busy with something else; a deadlock would occur each time. */
const TRIES = 3;

describe('a refresh, and a revocation of its token at the same time', () => {
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  it('lock the grant before the token, so that neither waits for the other in turn (FIELD-H4)', async () => {
    const waits: number[] = [];
    for (let attempt = 0; attempt < TRIES; attempt++) waits.push(await both());
    assert.ok(Math.min(...waits) < DEADLOCK_MILLISECONDS, `${waits.join(', ')} ms`);
  });

  /** Sends both while another transaction holds the token's row; resolves to how long they took after that. */
  async function both(): Promise<number> {
    const { tokens } = await signIn(gatehouse, application);
    const token = tokens.refresh_token!;
    const asked: Promise<Response>[] = [];
    await gatehouse.database.transaction().execute(async (tx) => {
      await sql`select from artifacts where kind = 'RefreshToken' for update`.execute(tx);
      asked.push(postForm(`${gatehouse.url}/revoke`, { token }, application));
      await eventually(async () => (await waiting()) === 1);
      asked.push(
        postForm(`${gatehouse.url}/token`, { grant_type: 'refresh_token', refresh_token: token }, application),
      );
      await eventually(async () => (await waiting()) === 2);
    });
    const released = performance.now();
    const [revocation, refresh] = await Promise.all(asked);
    assert.deepEqual([revocation!.status, refresh!.status], [200, 400], await refresh!.text());
    return performance.now() - released;
  }

  async function waiting(): Promise<number> {
    const { rows } = await sql`select from pg_stat_activity
      where wait_event_type = 'Lock' and datname = current_database()`.execute(gatehouse.database);
    return rows.length;
  }
});
