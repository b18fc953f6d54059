import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { CONNECTIONS_AT_MOST } from '../support/node/unreachable_database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { Outage } from '../support/node/outage.ts';

/** `npm run test:faults` keeps each outage up for this long; `npm test` for a moment. */
const HELD_UP_MILLISECONDS = Number(process.env.FAULT_SECONDS ?? 0) * 1_000;

interface Fault {
  readonly name: string;
  begin(outage: Outage): Promise<void> | void;
  end(outage: Outage): Promise<void> | void;
}

const others: pg.Client[] = [];
const KILL_ITS = `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'gatehouse%'`;

const FAULTS: readonly Fault[] = [
  // first, on the connections that the node began with
  { name: 'not answering', begin: ({ way }) => way.hold(), end: ({ way }) => way.open() },
  { name: 'doing what it is asked without a word', begin: ({ way }) => way.mute(), end: ({ way }) => way.open() },
  { name: 'answering two seconds late', begin: ({ way }) => way.slowDown(2_000), end: ({ way }) => way.open() },
  { name: 'stopped hard', begin: ({ cluster }) => cluster.kill(), end: ({ cluster }) => cluster.startAgain() },
  {
    name: 'stopped at once, by an immediate shutdown',
    begin: ({ cluster }) => cluster.stopImmediately(),
    end: ({ cluster }) => cluster.startAgain(),
  },
  { name: 'cut off', begin: ({ way }) => way.shut(), end: ({ way }) => way.open() },
  { name: 'out of connections', begin: takeAllConnections, end: giveConnectionsBack },
  {
    name: 'read-only',
    begin: ({ cluster }) =>
      cluster.run('alter system set default_transaction_read_only = on', 'select pg_reload_conf()'),
    end: ({ cluster }) =>
      cluster.run(
        'set default_transaction_read_only = off',
        'alter system reset default_transaction_read_only',
        'select pg_reload_conf()',
      ),
  },
  {
    // what Postgres says when a table can't grow, wherever this runs; full_disk.test.ts has a disk that is full
    name: 'saying that its disk is full',
    begin: ({ cluster }) =>
      cluster.run(
        `create function no_room() returns trigger language plpgsql as $$ begin
           raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$`,
        'create trigger no_room before insert on audit_links for each row execute function no_room()',
      ),
    end: ({ cluster }) => cluster.run('drop function no_room() cascade'),
  },
];

describe('a database that is', () => {
  let outage: Outage;
  before(async () => {
    outage = await Outage.start();
  });
  after(() => outage.stopAll());

  for (const fault of FAULTS) {
    it(`${fault.name}: known clients get tokens, all else a 503 at once, and nothing is lost`, async (test) => {
      const newcomer = await outage.newcomer();
      await outage.token();
      const givenBefore = outage.given.length;
      await fault.begin(outage);
      try {
        const [first, other] = await Promise.all([outage.token(), outage.somethingElse(newcomer)]);
        await outage.nothingIsHidden();
        const slowest = await outage.nothingHangs(newcomer);
        const until = performance.now() + HELD_UP_MILLISECONDS;
        do await Promise.all(Array.from({ length: 20 }, () => outage.token()));
        while (performance.now() < until && (await delay(20, true)));
        const held = await outage.gauge('gatehouse_audit_entries_held');
        test.diagnostic(
          `first token after ${Math.round(first.milliseconds)} ms, the admin API's first ${other.response.status} after ${Math.round(other.milliseconds)} ms, slowest 503 then ${Math.round(slowest)} ms, ` +
            `${outage.given.length - givenBefore} tokens in that time, ${held} entries held`,
        );
      } finally {
        await fault.end(outage);
      }
      await outage.isBack();
      await outage.token();
      await outage.everyTokenIsOnRecord();
      await requestToken(outage.gatehouse.url, newcomer);
      const proof = await proofOf(outage.gatehouse);
      assert.ok(proof.entries > outage.given.length);
    });
  }
});

/** Those of this node, too, as they break. */
async function takeAllConnections({ cluster }: Outage): Promise<void> {
  const first = await cluster.connect();
  others.push(first);
  await first.query(KILL_ITS);
  while (others.length <= CONNECTIONS_AT_MOST) {
    const client = await cluster.connect().catch(() => undefined);
    await first.query(KILL_ITS);
    if (!client) break;
    others.push(client);
  }
}

async function giveConnectionsBack(): Promise<void> {
  await Promise.all(others.splice(0).map((client) => client.end()));
}
