import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { Processes, type Server } from '../support/node/process.ts';

/** `npm run test:faults` opens thousands; `npm test` some hundred. */
const CONNECTIONS = Number(process.env.FAULT_CONNECTIONS ?? 300);
/** What the server allows (docs/operating.md), and how often it looks. */
const HEADERS_MILLISECONDS = 10_000 + 2_000;
const REQUEST_MILLISECONDS = 15_000 + 2_000;
const STALLED_MILLISECONDS = 30_000;
/** This machine may be busy with something else. */
const LATE_MILLISECONDS = 10_000;
const MEMORY_BYTES_PER_CONNECTION = 100_000;
const MEMORY_BYTES_AT_MOST = 60_000_000;
/** Fewer than the system holds for a server by default: one that it drops would believe itself connected for ever. */
const CONNECTED_AT_ONCE = 100;

interface Kind {
  readonly name: string;
  /** What each of them does; it is called once it is connected. */
  readonly behave: (socket: Socket, index: number) => void;
  readonly goneWithinMilliseconds: number;
  /** Where what they ask for is work. */
  readonly connectionsAtMost?: number;
  /** How much may wait for them in memory; little, unless told otherwise. */
  readonly bytesEach?: number;
  readonly answer?: RegExp;
}

/** The longest answer that any connection gets. */
const LARGE = 'GET /admin/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n';

/** Sends it a byte at a time, for ever. */
const trickle = (socket: Socket, text: string): void => {
  let at = 0;
  const timer = setInterval(() => socket.write(text[at++ % text.length]!), 500);
  socket.on('close', () => clearInterval(timer));
};

/** What one sends first, and then again and again: requests, or what is none. */
const UNREAD: readonly (readonly [first: string, then: string])[] = [
  [LARGE.repeat(5), LARGE.repeat(5)],
  [`${LARGE.repeat(8)}\0\0\0`, '\0'],
  [`${LARGE.repeat(8)}CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n`, '\0'],
];

const KINDS: readonly Kind[] = [
  { name: 'says nothing', behave: () => {}, goneWithinMilliseconds: HEADERS_MILLISECONDS },
  {
    name: 'sends its headers a byte at a time',
    behave(socket) {
      socket.write('GET /jwks HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      trickle(socket, 'a');
    },
    goneWithinMilliseconds: HEADERS_MILLISECONDS,
    answer: /^HTTP\/1\.1 408 /,
  },
  {
    name: 'sends its body a byte at a time',
    behave(socket) {
      const head = 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded';
      socket.write(`${head}\r\nContent-Length: 1000\r\n\r\n`);
      trickle(socket, 'a');
    },
    goneWithinMilliseconds: REQUEST_MILLISECONDS,
    answer: /^HTTP\/1\.1 408 .*Connection: close/s,
  },
  {
    name: 'sends half of its body and then nothing',
    behave(socket) {
      const head = 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded';
      socket.write(`${head}\r\nContent-Length: 1000\r\n\r\ngrant_type=`);
    },
    goneWithinMilliseconds: REQUEST_MILLISECONDS,
    answer: /^HTTP\/1\.1 408 .*Connection: close/s,
  },
  {
    name: 'asks to CONNECT, and resets the connection once that is refused',
    behave(socket) {
      socket.write('CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n');
      socket.once('data', () => socket.resetAndDestroy());
    },
    goneWithinMilliseconds: 0,
    answer: /^HTTP\/1\.1 405 /,
  },
  {
    name: 'asks for much at once without waiting for an answer',
    behave: (socket) => void socket.write(LARGE.repeat(100)),
    goneWithinMilliseconds: 0,
    connectionsAtMost: 50,
    // the few answers that were begun; all of them would be five times that
    bytesEach: 8_000_000,
  },
  {
    name: 'never reads what it asks for, whatever it sends behind it',
    behave(socket, index) {
      socket.pause();
      // more than the system keeps for us
      const [first, then] = UNREAD[index % UNREAD.length]!;
      socket.write(first);
      const timer = setInterval(() => socket.write(then), 500);
      socket.on('close', () => clearInterval(timer));
    },
    goneWithinMilliseconds: STALLED_MILLISECONDS,
    connectionsAtMost: 20,
    bytesEach: 8_000_000,
  },
];

describe(`${CONNECTIONS} connections of an attacker`, () => {
  const processes = new Processes();
  let database: TestDatabase;
  let folder: string;
  let server: Server;
  let demo: Bootstrap['demo'];
  before(async () => {
    database = await cloneDatabase();
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-'));
    server = await processes.start({
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      ISSUER: 'http://127.0.0.1:3000',
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '1000000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '1000000',
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
    });
    ({ demo } = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap);
    await requestToken(server.url, demo);
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  });

  for (const kind of KINDS) {
    it(`each ${kind.name}: all are cut off in time, at little cost, and others are served`, async (test) => {
      const before_ = residentBytes(server.pid);
      const opened = performance.now();
      const count = Math.min(CONNECTIONS, kind.connectionsAtMost ?? CONNECTIONS);
      const enemies: Enemy[] = [];
      while (enemies.length < count) enemies.push(...(await Enemy.connectSome(server, kind, count - enemies.length)));
      const gone = Promise.all(enemies.map((enemy) => enemy.gone));
      let largest = before_;
      const slowest = await serveOthersUntil(gone, () => {
        largest = Math.max(largest, residentBytes(server.pid));
      });
      const took = performance.now() - opened;
      report(test, { count, took, slowest, grown: largest - before_ });
      assert.ok(took < kind.goneWithinMilliseconds + LATE_MILLISECONDS, `cut off after ${Math.round(took)} ms`);
      assert.ok(largest - before_ < MEMORY_BYTES_AT_MOST + count * (kind.bytesEach ?? MEMORY_BYTES_PER_CONNECTION));
      if (kind.answer) for (const { answer } of enemies) assert.match(answer, kind.answer);
    });
  }

  it('a body of 50 MB is refused before it has been taken in', async () => {
    const enemy = await Enemy.connect(server, { name: '', behave: () => {}, goneWithinMilliseconds: 0 });
    const head = 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded';
    enemy.socket.write(`${head}\r\nContent-Length: 50000000\r\n\r\n`);
    const chunk = Buffer.alloc(65_536, 'a');
    let sent = 0;
    const before_ = residentBytes(server.pid);
    while (!enemy.closed && sent < 50_000_000) {
      sent += chunk.length;
      if (!enemy.socket.write(chunk)) await Promise.race([once(enemy.socket, 'drain').catch(() => {}), enemy.gone]);
    }
    await enemy.gone;
    assert.match(enemy.answer, /^HTTP\/1\.1 413 .*Connection: close.*57344 bytes/s);
    assert.ok(sent < 20_000_000, `${sent} bytes were taken`);
    assert.ok(residentBytes(server.pid) - before_ < MEMORY_BYTES_AT_MOST);
    await requestToken(server.url, demo);
  });

  /** Milliseconds of the slowest answer. */
  async function serveOthersUntil(over: Promise<unknown>, look: () => void): Promise<number> {
    const served = new AbortController();
    void over.then(() => served.abort());
    let slowest = 0;
    while (!served.signal.aborted) {
      const asked = performance.now();
      await requestToken(server.url, demo);
      slowest = Math.max(slowest, performance.now() - asked);
      look();
      await delay(20);
    }
    return slowest;
  }

  function report(
    test: TestContext,
    { count, took, slowest, grown }: Record<'count' | 'took' | 'slowest' | 'grown', number>,
  ): void {
    const memory = Number.isNaN(grown) ? 'unknown' : `${(grown / 1e6).toFixed(1)} MB`;
    test.diagnostic(
      `${count} connections, the last cut off after ${Math.round(took)} ms; resident memory grew by ${memory}; the slowest token took ${Math.round(slowest)} ms`,
    );
  }
});

class Enemy {
  readonly socket: Socket;
  readonly gone: Promise<void>;
  answer = '';
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => (this.answer += text));
    this.gone = new Promise<void>((resolve) => socket.on('close', () => resolve())).then(() => {
      this.closed = true;
    });
    // a connection that never reads learns of its end only here
    socket.on('error', () => socket.destroy());
  }

  static connectSome(server: Server, kind: Kind, atMost: number): Promise<Enemy[]> {
    const length = Math.min(CONNECTED_AT_ONCE, atMost);
    return Promise.all(Array.from({ length }, (_, index) => Enemy.connect(server, kind, index)));
  }

  static async connect({ url }: Server, { behave }: Kind, index = 0): Promise<Enemy> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    const enemy = new Enemy(socket);
    await once(socket, 'connect');
    behave(socket, index);
    return enemy;
  }
}

/** Of the process; NaN where the system doesn't say. */
function residentBytes(pid: number): number {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return Number.NaN;
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(file, 'utf8'))?.[1]) * 1_024;
}
