import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import type { TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { eventually } from '../support/node/operator.ts';
import { isAlive, isGone, Processes, type Server } from '../support/node/process.ts';
import {
  Connection,
  connectToEach,
  logOf,
  startTwoWorkers,
  type Answer,
  type AtWorker,
  type TwoWorkers,
} from '../support/node/workers.ts';

const PATIENCE_MS = 30_000;
const DELAY_MS = 4_000;

describe('workers under load', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let node: TwoWorkers | undefined;
  let server: Server;
  let demo: Bootstrap['demo'];

  before(async () => {
    node = await startTwoWorkers(processes, { GATEHOUSE_SHUTDOWN_DELAY_SECONDS: String(DELAY_MS / 1000) });
    ({ server, database } = node);
    ({ demo } = node.bootstrap);
  });
  after(async () => {
    await processes.end();
    await node?.stop();
  });

  interface Load {
    /** The requests that got a token. */
    readonly given: string[];
    readonly broken: string[];
  }

  /** Sends requests over eight connections while `work` lasts, and opens a new one where one breaks. */
  async function underLoad(work: (load: Load) => Promise<void>): Promise<Load> {
    const load: Load = { given: [], broken: [] };
    const over = new AbortController();
    const all = Array.from({ length: 8 }, async () => {
      let connection = new Connection(server.url);
      while (!over.signal.aborted) {
        const answer = await connection.token(demo).catch((error: unknown) => String(error));
        if (typeof answer !== 'string' && answer.status === 200) load.given.push(answer.requestId);
        else {
          load.broken.push(JSON.stringify(answer));
          connection.close();
          connection = new Connection(server.url);
          await delay(10);
        }
      }
      connection.close();
    });
    await work(load).finally(() => over.abort());
    await Promise.all(all);
    return load;
  }

  async function onRecord(ids: readonly string[]): Promise<number> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      const { rows } = await client.query<{ count: number }>(
        `select count(distinct request_id)::int as count from audit_events where event = 'token.issued' and request_id = any($1)`,
        [ids],
      );
      return rows[0]!.count;
    } finally {
      await client.end();
    }
  }

  it('one that is killed costs the requests it had, nothing that was answered, and no request of another worker', async (t) => {
    const [first, second] = (await connectToEach(server, 2, demo)) as [AtWorker, AtWorker];
    const { given, broken } = await underLoad(async (load) => {
      await eventually(() => Promise.resolve(load.given.length > 50), PATIENCE_MS);
      process.kill(first.pid, 'SIGKILL');
      await isGone(first.pid);
      const soFar = load.given.length;
      assert.equal((await second.connection.token(demo)).status, 200);
      await eventually(() => Promise.resolve(load.given.length > soFar + 50), PATIENCE_MS);
      await eventually(() => Promise.resolve(logOf(server).some(({ msg }) => msg === 'worker.replaced')), PATIENCE_MS);
    });
    t.diagnostic(`${given.length} given, ${broken.length} broken off`);
    // those that it was answering, on four connections of eight, and connections that were on their way to it
    assert.ok(broken.length <= 8, broken.join('\n'));
    assert.equal(await onRecord(given), given.length);
    for (const { connection } of [first, second]) connection.close();
  });

  it('at SIGTERM what is under way is answered, by each worker, and what was given is on record', async () => {
    const workers = await connectToEach(server, 2, demo);
    const slow: Promise<Answer>[] = [];
    const { given, broken } = await underLoad(async (load) => {
      await eventually(() => Promise.resolve(load.given.length > 50), PATIENCE_MS);
      server.signal('SIGTERM');
      for (const { connection } of workers) slow.push(connection.tokenSlowly(demo, DELAY_MS + 500));
      // well within the delay, since the last of these requests must still find it open
      await delay(1_000);
    });
    assert.deepEqual(broken, []);
    assert.equal(await onRecord(given), given.length);
    const answers = await Promise.all(slow);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    );
    const { code, stderr } = await server.ended();
    assert.deepEqual([code, stderr], [0, '']);
  });
});

describe('a first start with workers and nothing else configured', () => {
  const processes = new Processes();
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-workers-'));
  });
  after(async () => {
    await processes.end();
    await removeFolder(folder);
  });

  it('brings one Postgres, answers, and ends with all of it even when the primary is killed', async () => {
    const server = await processes.start({ GATEHOUSE_DATA_DIR: folder, GATEHOUSE_WORKERS: '2' });
    const { demo } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
    const workers = await connectToEach(server, 2, demo);
    const postmaster = Number.parseInt(await readFile(join(folder, 'postgres/postmaster.pid'), 'utf8'), 10);
    for (const { connection } of workers) connection.close();
    server.signal('SIGKILL');
    for (const one of [postmaster, ...workers.map(({ pid }) => pid)]) await isGone(one);
  });

  it('starts again on what that left, and stops its Postgres after its workers', async () => {
    const server = await processes.start({ GATEHOUSE_DATA_DIR: folder, GATEHOUSE_WORKERS: '2' });
    const { demo } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
    for (const { connection } of await connectToEach(server, 2, demo)) connection.close();
    const postmaster = Number.parseInt(await readFile(join(folder, 'postgres/postmaster.pid'), 'utf8'), 10);
    server.signal('SIGTERM');
    const { code, stdout, stderr } = await server.ended();
    assert.deepEqual([code, stderr], [0, ''], stdout);
    assert.ok(!isAlive(postmaster));
    assert.doesNotMatch(stdout, /"level":"(warn|error|fatal)"/);
  });
});
