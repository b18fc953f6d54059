import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { ask, decide, poll, registerTill } from '../support/client/backchannel.ts';
import { basic, REDIRECT_URI, registerApplication, requestCode } from '../support/client/code_flow.ts';
import { connectDevice, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { sha256 } from '../../src/base/secret.ts';
import { DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { transact } from '../../src/db/transaction.ts';
import { takeBackUse, timeOfUse, useArtifact, type TimeOfUse } from '../../src/oidc/storage/token_rows.ts';

/** Enough that not all of them draw the same microseconds. */
const USES = 3;

describe('the time of a use', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('tells a use from that of another request in the same millisecond, which can not take it back', async () => {
    const client = await registerApplication(gatehouse);
    const { code } = await requestCode(gatehouse, client);
    const used = { kind: 'AuthorizationCode', id: sha256(code) };
    const now = new Date();
    const [delivered, uncertain] = twoTimesOf(now);
    const use = (usedAt: TimeOfUse) =>
      transact(gatehouse.database, (tx) =>
        useArtifact(tx, used, { usedAt, keptUntil: undefined, graceBegan: undefined }),
      );
    assert.deepEqual([await use(delivered), await use(uncertain)], [true, false]);
    const takeBack = (usedAt: TimeOfUse) => transact(gatehouse.database, (tx) => takeBackUse(tx, used, usedAt));
    assert.equal(await takeBack(uncertain), false);
    assert.equal(await takeBack(delivered), true);
  });

  for (const [path, query] of [
    ['the fast path', ''],
    ['the ordinary path', '?ordinary'],
  ] as const) {
    it(`has microseconds of its own for a code on ${path}`, async () => {
      const client = await registerApplication(gatehouse);
      for (let n = 0; n < USES; n++) {
        const { code, verifier } = await requestCode(gatehouse, client, { scope: 'openid notes:read' });
        const form = { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: verifier };
        const answer = await fetch(`${gatehouse.url}/token${query}`, {
          method: 'POST',
          headers: { authorization: basic(client.client_id, client.client_secret) },
          body: new URLSearchParams(form),
        });
        assert.equal(answer.status, 200, await answer.text());
      }
      await differ('artifacts', client.client_id);
    });
  }

  it('has microseconds of its own for a device code', async () => {
    const client = await registerDevice(gatehouse);
    for (let n = 0; n < USES; n++) {
      const { device_code, user_code } = await requestDevice(gatehouse, client);
      await connectDevice(gatehouse, user_code);
      const form = { client_id: client.client_id, grant_type: DEVICE_CODE, device_code };
      const answer = await postForm(`${gatehouse.url}/token`, form);
      assert.equal(answer.status, 200, await answer.text());
    }
    await differ('device_codes', client.client_id);
  });

  it('has microseconds of its own for a backchannel request', async () => {
    const client = await registerTill(gatehouse);
    for (let n = 0; n < USES; n++) {
      const asked = await ask(gatehouse, client);
      await decide(gatehouse, asked, 'approve');
      const { status } = await poll(gatehouse, client, asked);
      assert.equal(status, 200);
    }
    await differ('backchannel_requests', client.client_id);
  });

  async function differ(table: string, clientId: string): Promise<void> {
    const { rows } = await sql<{ microseconds: number }>`
      select extract(microseconds from consumed_at)::int % 1000 as microseconds from ${sql.table(table)}
      where client_id = ${clientId} and consumed_at is not null`.execute(gatehouse.database);
    assert.equal(rows.length, USES);
    assert.ok(new Set(rows.map(({ microseconds }) => microseconds)).size > 1);
  }
});

/** They are random, and the same once in a thousand times. */
function twoTimesOf(now: Date): [TimeOfUse, TimeOfUse] {
  const one = timeOfUse(now);
  for (let n = 0; n < 10; n++) {
    const other = timeOfUse(now);
    if (other !== one) return [one, other];
  }
  return [one, one];
}
