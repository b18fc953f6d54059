import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { BusyPair } from '../support/node/busy_pair.ts';
import { requestToken, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { LaterVersion } from '../support/node/later_version.ts';
import { eventually } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { freeAddresses, MAIN, NODE, Processes, type Ending } from '../support/node/process.ts';
import { seededRandom } from '../support/random.ts';

/** For how long a migration that needs a table for itself doesn't get it; no other statement may wait that long. */
const HELD_MILLISECONDS = 6_000;
const STALLED_MILLISECONDS = 5_000;

describe('a rolling upgrade under load, across a migration', () => {
  let pair: Pair;
  let busy: BusyPair;
  let later: LaterVersion;
  const processes = new Processes();
  before(async () => {
    later = await LaterVersion.make();
    pair = await startPair({
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
      GATEHOUSE_REFRESH_GRACE_SECONDS: '0',
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '3',
    });
    busy = await BusyPair.prepare(pair, seededRandom());
  });
  after(async () => {
    await processes.end();
    await pair.stop();
    await later.remove();
  });

  /** As a load balancer and a supervisor see it: nothing is asked of a node that isn't ready. */
  const replace = async (node: Gatehouse, main: string): Promise<Ending> => {
    pair.signal(node, 'SIGTERM');
    await eventually(async () => (await fetch(`${node.managementUrl}/readyz`)).status === 503);
    busy.passOver(node);
    const ending = await pair.ended(node);
    await pair.startAgain(node, main);
    busy.takeBack(node);
    return ending;
  };

  const start = async (main: string, databaseUrl = pair.a.databaseUrl): Promise<Ending> => {
    const { port, managementPort } = await freeAddresses();
    return processes.run([NODE, main], {
      ISSUER: pair.a.issuer,
      DATABASE_URL: databaseUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
    });
  };

  it('costs no client a request, though both versions serve on the later tables, and one more of the old starts', async (test) => {
    await later.add('9001_additions', [
      'create table later_things (client_id text primary key references clients on delete cascade, thing text)',
      'alter table clients add column later_motto text',
      `alter table client_secrets add column later_purpose text not null default 'any'`,
      'alter table artifacts add column later_note text',
      'alter table grants add column later_note text',
      'create index later_index on clients (later_motto)',
    ]);
    busy.begin();
    const held = holdUpMigration(pair.a.databaseUrl);
    const endings = [await replace(pair.a, later.main)];
    await held;
    // as when a machine of the old version is restarted, or the upgrade is taken back
    const another = await pair.startAnother();
    await requestToken(another.url, pair.a.demo);
    await delay(500);
    endings.push(await replace(pair.b, later.main));
    await delay(500);
    await busy.stop();
    const { ledger, slowestMilliseconds } = busy;
    test.diagnostic(
      `${ledger.issued.length} tokens, ${ledger.rotations.length} rotations, ${ledger.usedRefreshTokens.length} refreshes, ${ledger.problems.length} problems, ` +
        `slowest answer ${Math.round(slowestMilliseconds)} ms, a lock held against the migration for ${HELD_MILLISECONDS} ms`,
    );
    assert.deepEqual(ledger.problems, []);
    assert.deepEqual(ledger.withheld, []);
    assert.equal(ledger.unknown, 0);
    assert.deepEqual(
      endings.map(({ code }) => code),
      [0, 0],
    );
    assert.ok(slowestMilliseconds < STALLED_MILLISECONDS);
    await everyTokenIsOnRecordOnce();
  });

  it('refuses a node that a later migration leaves nothing to work with, and says so', async () => {
    await later.add('9002_takes_away', ['alter table clients drop column later_motto'], '9002_takes_away');
    await pair.startAgain(await stopped(pair.a), later.main);
    const { code, stderr } = await start(MAIN);
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "Gatehouse can't start. The database belongs to a later version of Gatehouse, and this version is too old for it: it doesn't know 9002_takes_away. Start a later version.\n",
    );
    // a node that knows the migration still answers
    await requestToken(pair.a.url, pair.a.demo);
  });

  it('refuses a node on a database that lacks a migration which it may not carry out', async () => {
    await later.add('9003_needs_its_owner', ['alter table clients add column later_again text']);
    const operator = await connect(pair.a.databaseUrl);
    const role = `serves_only_${process.pid}`;
    await operator.query(`create role ${role} login`);
    try {
      for (const what of ['all tables', 'all sequences']) {
        await operator.query(`grant all on ${what} in schema public to ${role}`);
      }
      const { code, stderr } = await start(later.main, asRole(pair.a.databaseUrl, role));
      assert.equal(code, 1);
      assert.equal(
        stderr,
        "Gatehouse can't start. The migration 9003_needs_its_owner failed: must be owner of table clients.\n",
      );
    } finally {
      await operator.query(`drop owned by ${role}`);
      await operator.query(`drop role ${role}`);
      await operator.end();
    }
  });

  async function stopped(node: Gatehouse): Promise<Gatehouse> {
    pair.signal(node, 'SIGTERM');
    await pair.ended(node);
    return node;
  }

  async function everyTokenIsOnRecordOnce(): Promise<void> {
    const rows = await pair.a.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'token.issued')
      .execute();
    const recorded = rows.map(({ details }) => (details as { jti: string }).jti);
    assert.equal(new Set(recorded).size, recorded.length);
    const known = new Set(recorded);
    assert.deepEqual(
      busy.ledger.issued.filter((jti) => !known.has(jti)),
      [],
    );
  }
});

/** Reads the clients, as an operator's report may, and keeps its lock for a while after a migration waits for the table. */
async function holdUpMigration(url: string): Promise<void> {
  const reader = await connect(url);
  await reader.query('begin');
  await reader.query('select count(*) from clients');
  const waits = `select 1 from pg_locks where relation = 'clients'::regclass and mode = 'AccessExclusiveLock' and not granted`;
  await eventually(async () => (await reader.query(waits)).rows.length > 0, 60_000);
  await delay(HELD_MILLISECONDS);
  await reader.end();
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}

function asRole(databaseUrl: string, role: string): string {
  const url = new URL(databaseUrl);
  url.username = role;
  return url.href;
}
