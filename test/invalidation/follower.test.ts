import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { systemClock } from '../../src/base/clock.ts';
import { InvalidationFollower } from '../../src/invalidation/follower.ts';
import { recordChange } from '../../src/invalidation/log.ts';
import { createDatabase, type Database } from '../../src/db/connection.ts';
import { cloneDatabase, type TestDatabase, patientPool } from '../support/node/database.ts';
import { eventually } from '../support/node/operator.ts';

describe('a follower of the change log', () => {
  let clone: TestDatabase;
  let pool: pg.Pool;
  let database: Database;
  let follower: InvalidationFollower;
  let told: string[];
  beforeEach(async () => {
    clone = await cloneDatabase();
    pool = patientPool(clone.url, 5);
    database = createDatabase(pool);
    told = [];
    follower = follow();
  });
  afterEach(async () => {
    mock.restoreAll();
    await follower.stop();
    await pool.end();
    await clone.drop();
  });

  const follow = (connectionString?: string, atRest?: () => boolean): InvalidationFollower => {
    const made = new InvalidationFollower({
      database,
      connectionString,
      pollMilliseconds: 50,
      atRest,
      clock: systemClock,
      onError: () => {},
    });
    made.on('client', (key) => void told.push(key));
    return made;
  };
  const record = (key: string): Promise<void> =>
    database.transaction().execute((tx) => recordChange(tx, { topic: 'client', key }, new Date()));
  /** Changes whose sequence numbers are taken, and whose transaction stays open until it is told to commit. */
  const begin = async (count = 1): Promise<{ commit(): Promise<void> }> => {
    const connection = await pool.connect();
    await connection.query('begin');
    await connection.query(
      `insert into changes (topic, key, recorded_at) select 'client', 'slow ' || n, now() from generate_series(1, $1) n`,
      [count],
    );
    return {
      async commit() {
        await connection.query('commit');
        connection.release();
      },
    };
  };

  /** How often the log is read in a second. */
  const readsInASecond = async (): Promise<number> => {
    let reads = 0;
    const count = (): void => void reads++;
    pool.on('acquire', count);
    await delay(1_000);
    pool.off('acquire', count);
    return reads;
  };

  it('reads seldom at rest while NOTIFY brings its echo, and learns of changes at once (FIELD-F8)', async () => {
    let rests = true;
    follower = follow(clone.url, () => rests);
    await follower.start();
    // 2.5 s instead of 50 ms lie between two reads
    await eventually(async () => (await readsInASecond()) <= 1);
    await record('a');
    await eventually(() => Promise.resolve(told.includes('a')));
    rests = false;
    await eventually(async () => (await readsInASecond()) >= 4);
  });

  it('reads as often at rest as otherwise where NOTIFY brings nothing (FIELD-F8)', async () => {
    follower = follow(undefined, () => true);
    await follower.start();
    await eventually(async () => (await readsInASecond()) >= 4);
    await follower.stop();
    // the listener is cut off, which is noticed and made good
    follower = follow(clone.url, () => true);
    await follower.start();
    await eventually(async () => (await readsInASecond()) <= 1);
    const { rowCount } = await pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatehouse listener' and datname = current_database()`,
    );
    assert.equal(rowCount, 1);
    await eventually(() => readsInASecond().then((reads) => reads >= 4));
  });

  it('learns of a change that was overtaken by a later one before it began', async () => {
    const slow = await begin();
    await record('quick');
    await follower.start();
    await slow.commit();
    await eventually(async () => Promise.resolve(told.includes('slow 1')));
  });

  it('learns of every client of a large change that a small one overtook', async () => {
    await follower.start();
    const slow = await begin(5_000);
    await record('quick');
    await eventually(async () => Promise.resolve(told.includes('quick')));
    await slow.commit();
    await eventually(async () => Promise.resolve(told.length === 5_001));
  });

  it('forgets everything where a listener could not take in what it was told', async () => {
    let resets = 0;
    let broken = true;
    follower.on('resource', () => {
      if (broken) throw new Error('The database can not answer.');
    });
    follower.onReset(() => {
      resets++;
      if (broken) throw new Error('The database can not answer.');
    });
    await follower.start();
    await database.transaction().execute(async (tx) => {
      await recordChange(tx, { topic: 'resource', key: 'https://api.example.com' }, new Date());
      await recordChange(tx, { topic: 'client', key: 'revoked' }, new Date());
    });
    await eventually(async () => Promise.resolve(resets > 1));
    broken = false;
    const before = resets;
    await eventually(async () => Promise.resolve(resets === before + 1));
    await record('later');
    await eventually(async () => Promise.resolve(told.includes('later')));
    assert.equal(resets, before + 1);
  });

  it('reads everything anew where the log was set back, however little it lacks (FIELD-H1)', async () => {
    let resets = 0;
    follower.onReset(() => void resets++);
    for (let change = 0; change < 5; change++) await record('lost');
    await follower.start();
    await pool.query('delete from changes where sequence > 2');
    await pool.query('alter sequence changes_sequence_seq restart with 3');
    await record('revoked afterwards');
    await eventually(async () => Promise.resolve(resets === 1));
    await record('later');
    await eventually(async () => Promise.resolve(told.includes('later')));
    assert.equal(resets, 1);
  });

  it('reads everything anew where another table has taken the place of its log (FIELD-H1)', async () => {
    let resets = 0;
    follower.onReset(() => void resets++);
    await follower.start();
    await pool.query(
      'begin; create temp table kept as table changes; truncate changes; insert into changes overriding system value table kept; commit',
    );
    await eventually(async () => Promise.resolve(resets === 1));
  });

  it('holds one connection at most on a server that knows no LISTEN', async () => {
    const query = pg.Client.prototype.query as (...parameters: unknown[]) => unknown;
    mock.method(pg.Client.prototype, 'query', function (this: pg.Client, ...parameters: unknown[]) {
      const refused = typeof parameters[0] === 'string' && parameters[0].startsWith('listen ');
      return refused ? Promise.reject(new Error('LISTEN is not known here.')) : query.apply(this, parameters);
    });
    await follower.stop();
    follower = follow(clone.url);
    await follower.start();
    await delay(2_500);
    const { rows } = await pool.query<{ count: number }>(
      `select count(*) from pg_stat_activity where application_name = 'gatehouse listener' and datname = current_database()`,
    );
    assert.ok(rows[0]!.count <= 1, `${rows[0]!.count} connections`);
  });
});
