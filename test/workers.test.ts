import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Bootstrap } from '../src/bootstrap/development.ts';
import { eventually } from './support/operator.ts';
import { isAlive, Processes, type Server } from './support/process.ts';
import {
  connectToEach,
  countedAt,
  logOf,
  startTwoWorkers,
  type AtWorker,
  type LogLine,
  type TwoWorkers,
} from './support/workers.ts';

const BURST = 64;
const PATIENCE_MS = 30_000;

describe('a node of two workers', () => {
  const processes = new Processes();
  let node: TwoWorkers;
  let server: Server;
  let bootstrap: Bootstrap;
  let workers: AtWorker[];

  before(async () => {
    node = await startTwoWorkers(processes, {
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1',
      GATEHOUSE_CLIENT_REQUESTS_BURST: String(BURST),
      // the poll alone would be too late for what must be in force at once
      GATEHOUSE_CHANGE_POLL_MILLISECONDS: '900',
    });
    ({ server, bootstrap } = node);
    workers = await connectToEach(server, 2, bootstrap.demo);
  });
  after(async () => {
    for (const { connection } of workers) connection.close();
    await node.stop();
  });

  const lines = (msg: string): LogLine[] => logOf(server).filter((line) => line.msg === msg);
  const ready = async () => {
    const answer = await fetch(`${server.managementUrl}/readyz`);
    const { checks } = (await answer.json()) as { checks: Record<string, string> };
    return `${answer.status} ${checks['workers']}`;
  };

  it('answers from two processes, neither of them the one that was started', () => {
    assert.deepEqual(
      workers.map(({ worker }) => worker),
      [1, 2],
    );
    assert.equal(new Set([server.pid, ...workers.map(({ pid }) => pid)]).size, 3);
  });

  it('says once that it has started, with how many, and once what to paste', async () => {
    await eventually(() => Promise.resolve(lines('gatehouse.started').length > 0), PATIENCE_MS);
    const [line, ...more] = lines('gatehouse.started');
    assert.deepEqual([line!['workers'], line!.pid, line!.worker, more], [2, server.pid, undefined, []]);
    assert.equal(server.output().stdout.match(/# Get a token/g)?.length, 1);
  });

  it('makes what is made once in one process', () => {
    const made = logOf(server).filter(({ msg }) => msg === 'signing_key.created' || msg === 'client.created');
    assert.ok(made.length > 2);
    assert.deepEqual([...new Set(made.map(({ worker }) => worker))], [1]);
  });

  it('is ready as a whole, and not while a worker that has connections does not answer', async () => {
    assert.equal(await ready(), '200 2 of 2 ready');
    process.kill(workers[1]!.pid, 'SIGSTOP');
    assert.equal(await ready(), '503 1 of 2 ready');
    process.kill(workers[1]!.pid, 'SIGCONT');
    await eventually(async () => (await ready()) === '200 2 of 2 ready', PATIENCE_MS);
  });

  describe('what one worker changes', () => {
    const admin = async ({ connection }: AtWorker, method: string, path: string, body?: object) => {
      const token = JSON.parse((await connection.token(bootstrap.admin)).body) as { access_token: string };
      const headers = { authorization: `Bearer ${token.access_token}`, 'content-type': 'application/json' };
      const answer = await connection.ask(method, `/admin/v1${path}`, headers, body && JSON.stringify(body));
      assert.ok(answer.status < 300, `${answer.status} ${answer.body}`);
      return JSON.parse(answer.body || '{}') as { client_id: string; client_secret: string };
    };
    const newClient = () => {
      const { resource, scope } = bootstrap.demo;
      const resources = [{ resource, scopes: scope.split(' ') }];
      const metadata = { client_name: 'Short-lived', grant_types: ['client_credentials'], resources };
      return admin(workers[0]!, 'POST', '/clients', metadata);
    };

    it('is in force at the other when the change is answered: a revoked client', async () => {
      const [one, other] = workers as [AtWorker, AtWorker];
      for (let i = 0; i < 8; i++) {
        const client = await newClient();
        assert.equal((await other.connection.token(client)).status, 200);
        await admin(one, 'POST', `/clients/${client.client_id}/revoke`, { reason: 'a test' });
        assert.equal((await other.connection.token(client)).status, 401);
      }
    });

    it('is in force at the other when the change is answered: a new secret, a revoked token', async () => {
      const [one, other] = workers as [AtWorker, AtWorker];
      for (let i = 0; i < 8; i++) {
        const client = await newClient();
        await other.connection.token(client);
        const rotation = { overlap_seconds: 0 };
        const { client_secret } = await admin(one, 'POST', `/clients/${client.client_id}/secrets`, rotation);
        const renewed = { ...client, client_secret };
        const answer = await other.connection.token(renewed);
        assert.equal(answer.status, 200, answer.body);
        const { access_token: token } = JSON.parse(answer.body) as { access_token: string };
        const active = async ({ connection }: AtWorker) =>
          (JSON.parse((await connection.post('/introspect', { token }, renewed)).body) as { active: boolean }).active;
        assert.equal(await active(other), true);
        assert.equal((await one.connection.post('/revoke', { token }, renewed)).status, 200);
        assert.equal(await active(other), false);
      }
    });
  });

  it('lets a client ask as often as one process would, whichever worker its connections are at', async () => {
    const { demo } = bootstrap;
    // its bucket is full again when it has rested
    const began = performance.now();
    const statuses: number[] = [];
    for (let i = 0; i < BURST; i++) {
      for (const { connection } of workers) statuses.push((await connection.token(demo)).status);
    }
    const flowedBack = Math.ceil((performance.now() - began) / 1000);
    const admitted = statuses.filter((status) => status === 200).length;
    // what they may not have told one another yet, and what they told while the other was answering
    const untold = BURST / 16 + 4;
    assert.ok(admitted <= BURST + flowedBack + untold, `${admitted} of ${statuses.length} in ${flowedBack} s`);
    for (const { connection } of workers) {
      // one a second flows back, and may go to either
      const again = [await connection.token(demo), await connection.token(demo), await connection.token(demo)];
      assert.ok(again.some(({ status }) => status === 429));
    }
  });

  it('counts the requests of all workers at /metrics, and those of one that is gone, and replaces it', async () => {
    const [one, other] = workers as [AtWorker, AtWorker];
    const total = (): Promise<number> => countedAt(server, 'gatehouse_http_requests_total');
    const soFar = await total();
    for (let i = 0; i < 5; i++) {
      await one.connection.ask('GET', '/jwks');
      await other.connection.ask('GET', '/jwks');
    }
    assert.equal(await total(), soFar + 10);
    assert.equal(await countedAt(server, 'gatehouse_workers '), 2);

    process.kill(one.pid, 'SIGKILL');
    await eventually(() => Promise.resolve(lines('worker.replaced').length === 1), PATIENCE_MS);
    assert.ok((await total()) >= soFar + 10);
    const [ended] = lines('worker.ended');
    assert.deepEqual([ended!.worker, ended!['worker_pid'], ended!['signal']], [1, one.pid, 'SIGKILL']);
    assert.equal(await ready(), '200 2 of 2 ready');
    assert.equal((await other.connection.ask('GET', '/jwks')).status, 200);
  });

  it('waits longer before it replaces one that goes on ending', async () => {
    const pids = () => lines('worker.replaced').map((line) => Number(line['worker_pid']));
    for (const times of [2, 3]) {
      process.kill(pids().at(-1)!, 'SIGKILL');
      await eventually(() => Promise.resolve(pids().length === times), PATIENCE_MS);
    }
    assert.deepEqual(
      lines('worker.ended').map((line) => line['replaced_in_milliseconds']),
      [0, 250, 500],
    );
  });

  it('stops with code 0 at a signal to the whole group, twice given, and leaves nobody', async () => {
    const pids = [workers[1]!.pid, ...lines('worker.replaced').map((line) => Number(line['worker_pid']))];
    server.signalGroup('SIGINT');
    server.signalGroup('SIGINT');
    const { code, signal, stderr } = await server.ended();
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
    assert.equal(lines('gatehouse.stopped').length, 1);
    for (const pid of pids) assert.ok(!isAlive(pid));
  });
});
