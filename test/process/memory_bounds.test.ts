import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { ClientDirectory } from '../../src/clients/client_directory.ts';
import { SecretUses } from '../../src/clients/secret_last_used.ts';
import { RevokedTokens } from '../../src/oidc/tokens/revoked_tokens.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const MANY = 12_000;

describe('the memory of a node', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  /** In portions, so that no statement takes as long as the time limit for statements, even on a busy machine. */
  const crowd = async (name: string, count: number, metadata: object): Promise<void> => {
    const portion = 100;
    for (let from = 1; from <= count; from += portion) {
      await sql`insert into clients (client_id, metadata, created_at, updated_at)
        select ${name}::text || n, ${JSON.stringify(metadata)}::jsonb, now(), now()
        from generate_series(${from}::int, ${Math.min(from + portion - 1, count)}::int) n`.execute(gatehouse.database);
    }
  };
  const findAll = (directory: ClientDirectory, name: string, count: number) =>
    Promise.all(Array.from({ length: count }, (_, at) => directory.find(`${name}${at + 1}`)));

  it('holds 10,000 clients at most', async () => {
    await crowd('plain', MANY, { client_name: 'One of many' });
    const directory = new ClientDirectory(gatehouse.database);
    const found = await findAll(directory, 'plain', MANY);
    assert.equal(found.filter((client) => client?.metadata.client_name === 'One of many').length, MANY);
    assert.equal(directory.cacheSize.clients, 10_000);
  });

  it('holds fewer clients where they are large', async () => {
    await crowd('large', 1_500, { client_name: 'x'.repeat(20_000) });
    const directory = new ClientDirectory(gatehouse.database);
    await findAll(directory, 'large', 1_500);
    const { clients, bytes } = directory.cacheSize;
    assert.ok(clients > 500 && clients < 1_000 && bytes <= 16 * 1024 * 1024, `${clients} clients, ${bytes} bytes`);
  });

  it('holds 5,000 names of unknown clients at most, and they push no client out', async () => {
    const directory = new ClientDirectory(gatehouse.database);
    await directory.find(gatehouse.demo.client_id);
    await Promise.all(Array.from({ length: 8_000 }, () => directory.find(randomUUID())));
    assert.deepEqual([directory.cacheSize.clients, directory.cacheSize.absent], [1, 5_000]);
  });

  it('holds 50,000 uses of secrets at most until they are written', async () => {
    const uses = new SecretUses(gatehouse.database);
    for (let at = 0; at < 60_000; at++) uses.note(randomUUID(), new Date());
    assert.equal(uses.size, 50_000);
    await uses.write();
    assert.equal(uses.size, 0);
  });

  it('holds a bounded number of revoked tokens, and asks the database about the others', async () => {
    const now = new Date();
    const revoked = new RevokedTokens(gatehouse.database, { heldAtMost: 100 });
    const insert = (name: string, count: number, from: number) =>
      sql`insert into revoked_tokens (jti, client_id, revoked_at, expires_at)
        select ${name}::text || n, 'some', ${now}::timestamptz, ${now}::timestamptz + n * interval '1 second'
        from generate_series(${from}::int, ${from + count - 1}::int) n`.execute(gatehouse.database);
    await insert('loaded', 150, 1);
    await revoked.load(now);
    assert.equal(revoked.size, 100);
    await insert('heard', 50, 1_000);
    for (let at = 1_000; at < 1_050; at++) revoked.add(`heard${at}`, now);
    assert.equal(revoked.size, 100);
    const names = [1, 50, 51, 150].map((at) => `loaded${at}`).concat('heard1000', 'heard1049');
    for (const name of names) assert.equal(await revoked.has(name, now), true, name);
    assert.equal(await revoked.has('alive', now), false);
    await sql`delete from revoked_tokens where jti like 'loaded%'`.execute(gatehouse.database);
    await revoked.load(now);
    assert.equal(revoked.size, 50);
  });
});
