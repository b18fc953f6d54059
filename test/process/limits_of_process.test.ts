import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { basic } from '../support/client/code_flow.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { isGone, MAIN, NODE, Processes, type Environment, type Server } from '../support/node/process.ts';
import { logOf } from '../support/node/workers.ts';

/** How long requests under way may take at the end: far longer than any of these tests waits. */
const GRACE_SECONDS = 60;
const OPEN_FILES = 128;
const IDLE_CONNECTIONS = 500;

describe('a process of a node', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let folder = '';
  let environment: Environment;
  before(async () => {
    database = await cloneDatabase();
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-process-'));
    environment = {
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_GRACE_SECONDS: String(GRACE_SECONDS),
    };
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  });

  for (const workers of [1, 2]) {
    it(`ends at once at a second signal, and takes what arrives together for one, with ${workers} worker(s) (FIELD-H7)`, async () => {
      const server = await processes.start({ ...environment, GATEHOUSE_WORKERS: String(workers) });
      const { demo } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
      const hanging = await halfARequest(server, demo);
      const began = performance.now();
      // as npm does on Ctrl-C
      server.signalGroup('SIGINT');
      server.signal('SIGINT');
      await eventually(() => Promise.resolve(logOf(server).some(({ msg }) => msg === 'gatehouse.stopping')));
      // what arrives a second later is another wish
      await delay(1_200);
      server.signal('SIGTERM');
      const { code, signal } = await server.ended();
      assert.deepEqual({ code, signal }, { code: 1, signal: null });
      assert.ok(performance.now() - began < GRACE_SECONDS * 1_000);
      assert.equal(logOf(server).filter(({ msg }) => msg === 'gatehouse.stop_cut_short').length, 1);
      for (const pid of new Set(logOf(server).map((line) => line.pid))) await isGone(pid);
      hanging.destroy();
    });
  }

  it('with few open files says so, and lets idle connections go for new ones (FIELD-H7)', async () => {
    const command = ['/bin/sh', '-c', `ulimit -n ${OPEN_FILES} && exec "$0" "$1"`, NODE, MAIN];
    const server = await processes.ready(command, environment);
    const idle = await Promise.all(Array.from({ length: IDLE_CONNECTIONS }, () => open(server)));
    for (let asked = 0; asked < 5; asked++) {
      const headers = { connection: 'close' };
      const answer = await fetch(`${server.url}/jwks`, { headers, signal: AbortSignal.timeout(10_000) });
      assert.equal(answer.status, 200);
    }
    const lines = (): string[] => logOf(server).map(({ msg }) => msg);
    await eventually(() => Promise.resolve(lines().includes('connections.full')));
    assert.equal(lines().filter((msg) => msg === 'connections.full').length, 1);
    const { open_files, connections_at_most } = logOf(server).find(({ msg }) => msg === 'connections.limited')!;
    assert.equal(open_files, OPEN_FILES);
    assert.ok(Number(connections_at_most) < OPEN_FILES);
    for (const socket of idle) socket.destroy();
  });
});

async function open({ url }: Server): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]);
  return socket;
}

/** A request whose body the server waits for. */
async function halfARequest(server: Server, { client_id, client_secret }: Bootstrap['demo']): Promise<Socket> {
  const socket = await open(server);
  const continued = once(socket, 'data');
  const head = [
    'POST /token HTTP/1.1',
    'Host: x',
    `Authorization: ${basic(client_id, client_secret)}`,
    'Content-Type: application/x-www-form-urlencoded',
    'Content-Length: 29',
    'Expect: 100-continue',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  await continued;
  return socket;
}
