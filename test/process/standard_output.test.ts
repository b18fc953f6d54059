import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, readFileSync, readSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { postForm, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { CLI, MAIN, NODE, Processes, type Server } from '../support/node/process.ts';
import { countedAt } from '../support/node/workers.ts';

/** Some 600 bytes of log each: more than a pipe (64 KiB) and a process (128 KiB) keep. */
const TOKENS = 420;
const AT_ONCE = 30;
/** How long a probe may take on a machine that does much else. */
const PROBE_MILLISECONDS = 5_000;

describe('a node whose standard output', () => {
  const processes = new Processes();
  let folder = '';
  let database: TestDatabase;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-output-'));
    database = await cloneDatabase();
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = (output: string, environment: Readonly<Record<string, string>> = {}): Promise<Server> =>
    processes.ready(['/bin/sh', '-c', `exec "$0" "$1" >>'${output}'`, NODE, MAIN], {
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '100000',
      ...environment,
    });

  async function serves({ url, managementUrl }: Server, tokens: number): Promise<void> {
    const { demo } = JSON.parse(readFileSync(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
    for (let asked = 0; asked < tokens; asked += AT_ONCE) {
      const answers = await Promise.all(
        Array.from({ length: AT_ONCE }, () => postForm(`${url}/token`, { grant_type: 'client_credentials' }, demo)),
      );
      for (const answer of answers) assert.equal(answer.status, 200, await answer.text());
    }
    for (const path of ['/healthz', '/readyz']) {
      const signal = AbortSignal.timeout(PROBE_MILLISECONDS);
      assert.equal((await fetch(managementUrl + path, { signal })).status, 200);
    }
  }

  async function stops(server: Server): Promise<void> {
    server.signal('SIGTERM');
    const { code, signal, stderr } = await server.ended();
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
  }

  for (const workers of [1, 2]) {
    it(`goes to a reader that stalls serves on with ${workers} process(es), and tells later how many lines were lost (FIELD-H2)`, async () => {
      const pipe = new Pipe(join(folder, `stalled-${workers}`));
      const server = await start(pipe.path, { GATEHOUSE_WORKERS: String(workers) });
      await serves(server, workers === 1 ? TOKENS : TOKENS * 1.5);
      const dropped = await countedAt(server, 'gatehouse_log_lines_dropped_total');
      assert.ok(dropped > 0);
      const told = (): number => pipe.lines().reduce((sum, { msg, lines }) => sum + (isLoss(msg) ? lines! : 0), 0);
      await eventually(() => Promise.resolve(told() >= dropped));
      assert.equal(told(), await countedAt(server, 'gatehouse_log_lines_dropped_total'));
      await stops(server);
      pipe.close();
    });
  }

  it('goes to a reader that is gone serves on, and stops with code 0 (FIELD-H2)', async () => {
    const pipe = new Pipe(join(folder, 'closed'));
    const server = await start(pipe.path);
    pipe.close();
    await serves(server, 2 * AT_ONCE);
    await eventually(async () => (await countedAt(server, 'gatehouse_log_lines_dropped_total')) >= AT_ONCE);
    await stops(server);
  });

  it('goes to a disk that is full serves on, and writes whole lines when the disk has space again (FIELD-H2)', async (test) => {
    const disk = join(folder, 'disk');
    if (!mounted(disk)) {
      test.diagnostic('This user may not mount a small file system; a device that is full stands for it.');
      const server = await start('/dev/full');
      await serves(server, TOKENS);
      assert.ok((await countedAt(server, 'gatehouse_log_lines_dropped_total')) > 0);
      return stops(server);
    }
    try {
      const file = join(disk, 'log');
      await writeFile(join(disk, 'filler'), Buffer.alloc(900_000));
      const server = await start(file);
      await serves(server, TOKENS);
      assert.ok((await countedAt(server, 'gatehouse_log_lines_dropped_total')) > 0);
      await rm(join(disk, 'filler'));
      const told = (): boolean => linesIn(readFileSync(file, 'utf8')).some(({ msg }) => isLoss(msg));
      await eventually(() => Promise.resolve(told()));
      await stops(server);
      assert.equal(linesIn(readFileSync(file, 'utf8')).at(-1)?.msg, 'gatehouse.stopped');
    } finally {
      await processes.end();
      run('umount', disk);
    }
  });

  it('takes nothing still says on standard error why it can not start (FIELD-H2)', async () => {
    const { code, stderr } = await processes.run(['/bin/sh', '-c', 'exec "$0" "$1" >/dev/full', NODE, MAIN], {
      DATABASE_URL: 'postgres://127.0.0.1:1/x',
    });
    assert.equal(code, 1);
    assert.match(stderr, /^Gatehouse can't start\. The database at 127\.0\.0\.1:1 can't be reached/);
  });

  it('takes nothing ends a command with code 1 and a sentence (FIELD-H2)', async () => {
    const { code, stderr } = await processes.run(['/bin/sh', '-c', 'exec "$0" "$1" migrate >/dev/full', NODE, CLI], {
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    });
    assert.deepEqual([code, stderr], [1, 'Cannot write the output: ENOSPC: no space left on device, write.\n']);
  });
});

interface Line {
  readonly msg: string;
  readonly lines?: number;
}

function isLoss(msg: string): boolean {
  return msg === 'log.lines_dropped';
}

/** Throws for a line that is not whole. */
function linesIn(text: string): Line[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.filter((line) => line.startsWith('{') || line.endsWith('}')).map((line) => JSON.parse(line) as Line);
}

/** A named pipe whose only reader reads when it is told to. */
class Pipe {
  readonly path: string;
  readonly #descriptor: number;
  #text = '';

  constructor(path: string) {
    run('mkfifo', path);
    this.path = path;
    this.#descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** All that was written so far. */
  lines(): Line[] {
    const chunk = Buffer.alloc(65_536);
    for (;;) {
      try {
        const bytes = readSync(this.#descriptor, chunk);
        if (bytes === 0) break;
        this.#text += chunk.toString('latin1', 0, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
        throw error;
      }
    }
    return linesIn(this.#text);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

function mounted(folder: string): boolean {
  try {
    mkdirSync(folder);
    run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'gatehouse-test', folder);
    return true;
  } catch {
    return false;
  }
}

function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { stdio: 'ignore' });
}
