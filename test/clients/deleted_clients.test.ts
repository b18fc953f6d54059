import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { sha256 } from '../../src/base/secret.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('a client that is deleted while one of its tokens is traded', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('goes when that is done: neither waits for the other for ever', async () => {
    const client = await registerApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid' });
    const token = sha256(tokens.refresh_token!);
    const trading = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await trading.connect();
    try {
      // what a refresh does in one statement (src/oidc/storage/token_rows.ts), with a pause where another can come between
      await trading.query('begin');
      await trading.query(
        'select from grants where grant_id = (select grant_id from artifacts where artifact_id = $1) for key share',
        [token],
      );
      const deleting = gatehouse.adminCall('DELETE', `/clients/${client.client_id}`);
      await delay(300);
      await trading.query('update artifacts set consumed_at = now() where artifact_id = $1', [token]);
      await trading.query('commit');
      assert.equal((await deleting).status, 204);
    } finally {
      await trading.end();
    }
  });
});
