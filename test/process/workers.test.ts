import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { eventually } from '../support/node/operator.ts';
import { isAlive, Processes, type Server } from '../support/node/process.ts';
import {
  connectToEach,
  countedAt,
  logOf,
  startTwoWorkers,
  type AtWorker,
  type LogLine,
  type TwoWorkers,
} from '../support/node/workers.ts';

const BURST = 64;
const PATIENCE_MS = 30_000;
/** A change is answered after this, whether the other workers have caught up or not. */
const CATCH_UP_PATIENCE_MS = 500;

describe('a node of two workers', () => {
  const processes = new Processes();
  let node: TwoWorkers | undefined;
  let server: Server;
  let bootstrap: Bootstrap;
  let workers: AtWorker[] = [];

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
    await processes.end();
    await node?.stop();
  });

  const lines = (msg: string): LogLine[] => logOf(server).filter((line) => line.msg === msg);
  const ready = async () => {
    const answer = await fetch(`${server.managementUrl}/readyz`);
    const { checks } = (await answer.json()) as { checks: Record<string, string> };
    return `${answer.status} ${checks['workers']}`;
  };

  const admin = async ({ connection }: AtWorker, method: string, path: string, body?: object) => {
    const token = JSON.parse((await connection.token(bootstrap.admin)).body) as { access_token: string };
    const headers = { authorization: `Bearer ${token.access_token}`, 'content-type': 'application/json' };
    const answer = await connection.ask(method, `/admin/v1${path}`, headers, body && JSON.stringify(body));
    assert.ok(answer.status < 300, `${answer.status} ${answer.body}`);
    return JSON.parse(answer.body || '{}') as { client_id: string; client_secret: string };
  };
  /**
   * To be called when a change that began then has just been answered. Answers 1 where the other worker must have been
   * waited for, and it is so at once; 0 where it may have been too slow for that, and it became so later.
   */
  const inForce = async (began: number, isSo: () => Promise<boolean>): Promise<number> => {
    if (performance.now() - began < CATCH_UP_PATIENCE_MS) {
      assert.ok(await isSo());
      return 1;
    }
    // seldom, since wrong credentials and a client's requests are limited
    await eventually(async () => (await isSo()) || (await delay(200, false)), PATIENCE_MS);
    return 0;
  };
  /** A client of its own for a test, which the second worker knows, too. */
  const newClient = async () => {
    const [one, other] = workers as [AtWorker, AtWorker];
    const { resource, scope } = bootstrap.demo;
    const resources = [{ resource, scopes: scope.split(' ') }];
    const metadata = { client_name: 'Short-lived', grant_types: ['client_credentials'], resources };
    const began = performance.now();
    const client = await admin(one, 'POST', '/clients', metadata);
    await inForce(began, async () => (await other.connection.token(client)).status === 200);
    return client;
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
    it('is in force at the other when the change is answered: a revoked client', async () => {
      const [one, other] = workers as [AtWorker, AtWorker];
      let seen = 0;
      for (let i = 0; i < 8; i++) {
        const client = await newClient();
        const began = performance.now();
        await admin(one, 'POST', `/clients/${client.client_id}/revoke`, { reason: 'a test' });
        seen += await inForce(began, async () => (await other.connection.token(client)).status === 401);
      }
      assert.ok(seen > 0);
    });

    it('is in force at the other when the change is answered: a new secret, a revoked token', async () => {
      const [one, other] = workers as [AtWorker, AtWorker];
      const seen = { secrets: 0, revocations: 0 };
      for (let i = 0; i < 8; i++) {
        const client = await newClient();
        const rotation = { overlap_seconds: 0 };
        let began = performance.now();
        const { client_secret } = await admin(one, 'POST', `/clients/${client.client_id}/secrets`, rotation);
        const renewed = { ...client, client_secret };
        seen.secrets += await inForce(began, async () => (await other.connection.token(renewed)).status === 200);
        const answer = await other.connection.token(renewed);
        assert.equal(answer.status, 200, answer.body);
        const { access_token: token } = JSON.parse(answer.body) as { access_token: string };
        const active = async ({ connection }: AtWorker) =>
          (JSON.parse((await connection.post('/introspect', { token }, renewed)).body) as { active: boolean }).active;
        assert.equal(await active(other), true);
        began = performance.now();
        assert.equal((await one.connection.post('/revoke', { token }, renewed)).status, 200);
        seen.revocations += await inForce(began, async () => !(await active(other)));
      }
      assert.ok(seen.secrets > 0 && seen.revocations > 0, JSON.stringify(seen));
    });
  });

  it('lets a client ask as often as one process would, over connections to any worker', async () => {
    // what they may not have told one another yet, and what they told while the other was answering
    const untold = BURST / 16 + 4;
    let client = await newClient();
    const look = async () => {
      const began = performance.now();
      const statuses: number[] = [];
      for (let i = 0; i < BURST; i++) {
        for (const { connection } of workers) statuses.push((await connection.token(client)).status);
      }
      const flowedBack = Math.ceil((performance.now() - began) / 1000);
      const admitted = statuses.filter((status) => status === 200).length;
      const most = BURST + flowedBack + untold;
      return { holds: admitted <= most, said: `${admitted} of ${statuses.length} in ${flowedBack} s` };
    };
    let looked = await look();
    // a worker that was stalled for a moment learned too late of the other's requests
    for (let again = 0; again < 2 && !looked.holds; again++) {
      client = await newClient();
      looked = await look();
    }
    assert.ok(looked.holds, looked.said);
    for (const { connection } of workers) {
      // one a second flows back, and may go to either
      const statuses: number[] = [];
      for (let i = 0; i < 6; i++) statuses.push((await connection.token(client)).status);
      assert.ok(statuses.includes(429));
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

  it('waits longer before it replaces one that ends again and again', async () => {
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

  it('stops with code 0 at a signal to the whole group, twice given, and leaves no process', async () => {
    const pids = [workers[1]!.pid, ...lines('worker.replaced').map((line) => Number(line['worker_pid']))];
    server.signalGroup('SIGINT');
    server.signalGroup('SIGINT');
    const { code, signal, stderr } = await server.ended();
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
    assert.equal(lines('gatehouse.stopped').length, 1);
    for (const pid of pids) assert.ok(!isAlive(pid));
  });
});
