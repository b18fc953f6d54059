import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { createDatabase } from '../../src/db/connection.ts';
import { KeyRotation } from '../../src/keys/rotation.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { patientPool } from '../support/node/database.ts';
import { postForm, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const CROWD = 12;
const EXPIRED_ROWS = 3_000;

interface IssuedSecret {
  readonly secret_id: string;
  readonly client_secret: string;
}

describe('a change on two nodes at once', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair();
  });
  after(() => pair.stop());

  const rotateAtOnce = async ({ client_id }: RegisteredClient, key?: string): Promise<IssuedSecret[]> => {
    const token = await pair.a.adminToken();
    const answers = await atOnce(CROWD, pair, ({ url }) =>
      fetch(`${url}/admin/v1/clients/${client_id}/secrets`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          ...(key !== undefined && { 'idempotency-key': key }),
        },
        body: JSON.stringify({ overlap_seconds: 0 }),
      }),
    );
    for (const { status } of answers) assert.equal(status, 201);
    return Promise.all(answers.map(async (answer) => (await answer.json()) as IssuedSecret));
  };
  const statusWith = async (url: string, client: RegisteredClient, client_secret: string): Promise<number> =>
    (await postForm(`${url}/token`, { grant_type: 'client_credentials' }, { ...client, client_secret })).status;
  const secretsCreated = async ({ client_id }: RegisteredClient): Promise<number> => {
    const events = pair.a.database.selectFrom('audit_events').select('event').where('client_id', '=', client_id);
    return (await events.where('event', '=', 'secret.created').execute()).length;
  };

  it('a rotation of a secret that is sent again under its key has one effect, at either node', async () => {
    const client = await registerClient(pair.a);
    const before_ = await secretsCreated(client);
    const issued = await rotateAtOnce(client, 'this-very-rotation');
    assert.equal(new Set(issued.map(({ secret_id }) => secret_id)).size, 1);
    assert.equal(await secretsCreated(client), before_ + 1);
    for (const { url } of [pair.a, pair.b]) {
      await eventually(async () => (await statusWith(url, client, issued[0]!.client_secret)) === 200);
      assert.equal(await statusWith(url, client, client.client_secret), 401);
    }
  });

  it('rotations of one secret without overlap leave one secret, and both nodes know which', async () => {
    const client = await registerClient(pair.a);
    const issued = await rotateAtOnce(client);
    assert.equal(new Set(issued.map(({ secret_id }) => secret_id)).size, CROWD);
    const live = await pair.a.database
      .selectFrom('client_secrets')
      .select('secret_id')
      .where('client_id', '=', client.client_id)
      .where('ended_at', 'is', null)
      .where((row) => row.or([row('expires_at', 'is', null), row('expires_at', '>', new Date())]))
      .execute();
    assert.equal(live.length, 1);
    const left = issued.find(({ secret_id }) => secret_id === live[0]!.secret_id)!;
    for (const { url } of [pair.a, pair.b]) {
      await eventually(async () => (await statusWith(url, client, left.client_secret)) === 200);
    }
  });

  it('the removal of an unneeded signing key has one effect', async () => {
    const { database } = pair.a;
    const rotated = await pair.a.adminCall('POST', '/keys/rotate', { alg: 'ES256', reason: 'to have one' });
    assert.equal(rotated.status, 200);
    const vault = new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
    const nodes = await Promise.all(
      [1, 2, 3].map(
        async () =>
          new KeyRotation({
            database,
            vault,
            trail: await openTrail(database),
            jwksMaxAgeSeconds: 300,
            rotationDays: 365,
            rsaBits: 2_048,
          }),
      ),
    );
    const now = new Date(Date.now() + 3 * 86_400_000);
    await Promise.all(nodes.map((node) => node.runSchedule(now)));
    const events = database.selectFrom('audit_events').select('event').where('event', '=', 'signing_key.removed');
    assert.equal((await events.execute()).length, 1);
  });

  it('clean-up removes each row once, and does not wait for a row that a request holds', async () => {
    const { database, databaseUrl } = pair.a;
    const long = new Date(Date.now() - 3_600_000);
    await sql`insert into revoked_tokens (jti, client_id, revoked_at, expires_at)
      select 'expired ' || n, ${pair.a.demo.client_id}, ${long}, ${long} from generate_series(1, ${EXPIRED_ROWS}) n`.execute(
      database,
    );
    const pools = [1, 2, 3].map(() => patientPool(databaseUrl, 1));
    const holding = await database.startTransaction().execute();
    await sql`select 1 from revoked_tokens where jti = 'expired 7' for update`.execute(holding);
    const removed = await Promise.all(pools.map((pool) => removeExpiredRows(createDatabase(pool), new Date())));
    await holding.rollback().execute();
    assert.equal(
      removed.reduce((sum, one) => sum + one.removed, 0),
      EXPIRED_ROWS - 1,
    );
    assert.deepEqual(await removeExpiredRows(database, new Date()), { removed: 1, done: true });
    await Promise.all(pools.map((pool) => pool.end()));
  });
});
