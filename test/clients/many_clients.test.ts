import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { readClients, readClientsNamed, type Page } from '../../src/clients/client_rows.ts';
import { createDatabase, type Database } from '../../src/db/connection.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { removeUnusedClients } from '../../src/registration/unused_clients.ts';
import { patientPool } from '../support/node/database.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const CROWD = 20_000;

describe('a search among very many clients', () => {
  let gatehouse: Gatehouse;
  /** One connection: its own counts are all there is to see. */
  let database: Database;
  before(async () => {
    gatehouse = await startGatehouse();
    database = createDatabase(patientPool(gatehouse.databaseUrl, 1));
    await sql`insert into clients (client_id, metadata, secret_rotation_days, created_at, updated_at)
      select 'crowd_' || n, jsonb_build_object('client_name', 'Würfel ' || n), case when n % 1000 = 0 then 1 end,
        timestamptz '2026-01-01' + n * interval '1 second', now() from generate_series(1, ${CROWD}::int) n`.execute(
      database,
    );
    await sql`insert into client_secrets (secret_id, client_id, argon2id, hint, created_at, ended_at)
      select 'secret_' || n, 'crowd_' || n, 'none', '', timestamptz '2026-01-01', case when n = 7 then timestamptz '2026-01-02' end
      from generate_series(1, ${CROWD}::int) n`.execute(database);
    await sql`analyze`.execute(database);
  });
  after(async () => {
    await database.destroy();
    await gatehouse.stop();
  });

  /** How many rows of the crowd were gone through one by one, without an index. */
  const goneThrough = async (work: () => Promise<unknown>): Promise<number> => {
    const read = async (): Promise<number> => {
      await sql`select pg_stat_force_next_flush()`.execute(database);
      const { rows } = await sql<{ read: number }>`select sum(seq_tup_read)::int as read from pg_stat_user_tables
        where relname in ('clients', 'client_secrets')`.execute(database);
      return rows[0]!.read;
    };
    const earlier = await read();
    await work();
    return (await read()) - earlier;
  };
  const now = new Date();
  const pages: Readonly<Record<string, Page>> = {
    'the first page': { limit: 50 },
    'a later page': { limit: 50, after: { createdAt: new Date('2026-01-01T04:00:00Z'), clientId: 'crowd_14400' } },
    'a part of a name': { limit: 50, search: 'rfel 777' },
    'a part of a client_id': { limit: 50, search: 'CROWD_1234' },
    'those of a policy': { limit: 50, policy: 'none' },
    'those that are overdue': { limit: 50, overdue: { is: true, now } },
  };
  for (const [what, page] of Object.entries(pages)) {
    it(`finds ${what} without reading all of them`, async () => {
      let found = 0;
      const read = await goneThrough(async () => (found = (await readClients(database, page)).length));
      assert.ok(found > 0 || page.policy !== undefined);
      assert.equal(read, 0);
    });
  }

  it('finds each by its client_id, many at a time', async () => {
    const names = Array.from({ length: 100 }, (_, at) => `crowd_${at * 200 + 1}`);
    assert.equal(await goneThrough(async () => assert.equal((await readClientsNamed(database, names)).length, 100)), 0);
  });

  it('finds names in any script and case, and takes no character for a wildcard', async () => {
    for (const [search, count] of [
      ['würfel 777', 11],
      ['WÜRFEL 7777', 1],
      ['wärfel', 0],
      ['w?rfel', 0],
      ['würfel 77_7', 0],
    ] as const) {
      assert.equal((await readClients(database, { limit: 50, search })).length, count, search);
    }
  });

  it('for clean-up reads none that stay', async () => {
    const trail = await openTrail(database);
    assert.equal(await goneThrough(() => removeExpiredRows(database, now)), 0);
    assert.equal(await goneThrough(() => removeUnusedClients(database, trail, now)), 0);
    const { rows } = await sql`select from client_secrets where secret_id = 'secret_7'`.execute(database);
    assert.equal(rows.length, now.getTime() > Date.UTC(2026, 3, 2) ? 0 : 1);
  });
});
