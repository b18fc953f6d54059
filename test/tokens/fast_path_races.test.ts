import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import pg from 'pg';
import { sha256 } from '../../src/base/secret.ts';
import { BothPaths, ofRefresh, type Form } from '../support/client/both_paths.ts';
import { basic, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';

/** What is on record of a grant whose code came again. */
const ENDED = ['token.issued success', 'code.reused refused', 'grant.revoked success'];
const QUICK = { id_token_signed_response_alg: 'ES256' };

/** Between the fast path's read and its write other changes may commit, and the client may have disconnected. */
describe('a code or refresh token that changes while the fast path handles it', () => {
  let gatehouse: Gatehouse;
  let both: BothPaths;
  let application: RegisteredClient;
  let operator: pg.Client;
  before(async () => {
    gatehouse = await startGatehouse();
    both = new BothPaths(gatehouse);
    application = await registerApplication(gatehouse, QUICK);
    operator = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await operator.connect();
  });
  after(async () => {
    await operator.end();
    await gatehouse.stop();
  });

  const grantOf = async (form: Form): Promise<Buffer> => {
    const { grant_id } = await gatehouse.database
      .selectFrom('artifacts')
      .select('grant_id')
      .where('artifact_id', '=', sha256(form['refresh_token'] ?? form['code']!))
      .executeTakeFirstOrThrow();
    return grant_id!;
  };
  const somebodyWaits = () =>
    eventually(async () => {
      const { rows } = await operator.query(
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rows.length > 0;
    }, 10_000);
  const eventsOf = async (grantId: Buffer) => {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome'])
      .where((row) => row(row.ref('details', '->>').key('grant_id'), '=', grantId.toString('base64url')))
      .orderBy('occurred_at')
      .execute();
    return rows.map(({ event, outcome }) => `${event} ${outcome}`);
  };

  it('gives way to a statement that ends the grant: neither waits for the other', async () => {
    const codes = await both.codes(application, {}, both.apart());
    const refreshes = await both.refreshes(application, {}, both.apart());
    for (const form of [codes[0], refreshes[0]]) {
      const grantId = await grantOf(form);
      await operator.query('begin');
      await operator.query('select 1 from grants where grant_id = $1 for update', [grantId]);
      const answer = both.lean(form, application);
      await somebodyWaits();
      await operator.query('delete from grants where grant_id = $1', [grantId]);
      await operator.query('commit');
      assert.deepEqual([(await answer).status, (await answer).body['error']], [400, 'invalid_grant']);
    }
  });

  it('leaves to the ordinary path, and says so in the log, what broke', async () => {
    const [form] = await both.refreshes(application, {}, both.apart());
    // a rollback does not reset a sequence, so the second attempt succeeds
    await sql`create sequence attempts`.execute(gatehouse.database);
    await sql`create function break_once() returns trigger language plpgsql as $$ begin
      if nextval('attempts') = 1 then raise exception 'broken for a test'; end if; return new; end $$`.execute(
      gatehouse.database,
    );
    await sql`create trigger break_once before insert on artifacts for each row execute function break_once()`.execute(
      gatehouse.database,
    );
    const { status, body } = await both.lean(form, application);
    await sql`drop trigger break_once on artifacts`.execute(gatehouse.database);
    assert.deepEqual([status, typeof body['refresh_token']], [200, 'string']);
    assert.equal(gatehouse.log.filter((line) => line.includes('broken for a test')).length, 1);
  });

  /** Sends a request that waits for what the operator has locked, and hangs up. */
  const hangUp = async (form: Form, query: string): Promise<void> => {
    const body = new URLSearchParams(form).toString();
    const sending = request(`${gatehouse.url}/token${query}`, {
      method: 'POST',
      headers: {
        authorization: basic(application.client_id, application.client_secret),
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': body.length,
      },
    });
    sending.on('error', () => {});
    sending.end(body);
    await somebodyWaits();
    sending.destroy();
    await delay(50);
  };

  it('is used and on record though the client has disconnected, as on the ordinary path', async () => {
    for (const query of ['', '?ordinary']) {
      const [form] = await both.codes(application, {}, both.apart());
      const grantId = await grantOf(form);
      await operator.query('begin');
      await operator.query('select 1 from artifacts where artifact_id = $1 for update', [sha256(form['code']!)]);
      await hangUp(form, query);
      await operator.query('commit');
      await eventually(async () => (await eventsOf(grantId)).includes('token.issued success'));
      assert.equal((await both.lean(form, application)).body['error'], 'invalid_grant');
      assert.deepEqual(await eventsOf(grantId), ENDED);
    }
  });

  it('ends its family when it is used again, though the client has disconnected, as on the ordinary path', async () => {
    for (const query of ['', '?ordinary']) {
      const [form] = await both.codes(application, {}, both.apart());
      const grantId = await grantOf(form);
      const family = await both.lean(form, application);
      await operator.query('begin');
      await operator.query('lock table artifacts');
      await hangUp(form, query);
      await operator.query('commit');
      await eventually(async () => (await eventsOf(grantId)).includes('grant.revoked success'));
      assert.deepEqual(await eventsOf(grantId), ENDED);
      assert.equal((await both.lean(ofRefresh(family), application)).body['error'], 'invalid_grant');
    }
  });

  it('ends its family for all, asked for on both paths at once', async () => {
    for (let round = 0; round < 3; round++) {
      const [form] = await both.codes(application, {}, both.apart());
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, index) => both[index % 2 ? 'lean' : 'ordinary'](form, application)),
      );
      const winners = answers.filter(({ status }) => status === 200);
      assert.equal(winners.length <= 1, true);
      assert.deepEqual(
        answers.filter(({ status }) => status >= 500),
        [],
      );
      for (const winner of winners)
        assert.equal((await both.lean(ofRefresh(winner), application)).body['error'], 'invalid_grant');
    }
  });
});
