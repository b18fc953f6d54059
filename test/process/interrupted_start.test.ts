import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { emptyDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { CLI, freeAddresses, isAlive, MAIN, NODE, Processes, type Running } from '../support/node/process.ts';

const PATIENCE_MS = 60_000;
const told = (signal: string): string => `Gatehouse was told to stop by ${signal} before it had started.\n`;

describe('a start that is called off by a signal', () => {
  const processes = new Processes();
  const folders: string[] = [];
  after(async () => {
    await processes.end();
    for (const folder of folders) await removeFolder(folder);
  });

  const makeFolder = async (): Promise<string> => {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-interrupted-'));
    folders.push(folder);
    return folder;
  };
  const spawn = async (environment: Readonly<Record<string, string>>, command = [NODE, MAIN]): Promise<Running> => {
    const { port, managementPort } = await freeAddresses();
    return processes.spawn(command, {
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
      ...environment,
    });
  };
  const reaches = async (running: Running, moment: () => boolean | Promise<boolean>): Promise<void> => {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await moment())) {
      assert.ok(performance.now() < deadline && isAlive(running.pid), running.output().stderr);
      await delay(2);
    }
  };

  const moments: readonly (readonly [what: string, reached: (files: readonly string[]) => boolean])[] = [
    ['it began to make its cluster', (files) => files.some((name) => name.startsWith('postgres.new-'))],
    ['the cluster was made', (files) => files.includes('postgres')],
    ['the tables were made', (files) => files.includes('master.key')],
  ];
  for (const [index, [what, reached]] of moments.entries()) {
    it(`ends with code 0 and one sentence, and takes its Postgres with it, soon after ${what} (FIELD-F10)`, async (t) => {
      const folder = await makeFolder();
      const signal = index % 2 === 0 ? 'SIGTERM' : 'SIGINT';
      const running = await spawn({ GATEHOUSE_DATA_DIR: folder });
      await reaches(running, () => reached(readdirSync(folder)));
      const later = Math.random() * 100;
      await delay(later);
      t.diagnostic(`${Math.round(later)} ms after ${what}`);
      const postmaster = postmasterIn(folder);
      // to the group and once more, as npm and a terminal do
      running.signalGroup(signal);
      running.signal(signal);
      const { code, stderr } = await running.ended(PATIENCE_MS);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: told(signal) });
      assert.ok(postmaster === undefined || !isAlive(postmaster), 'Postgres still runs.');
      assert.equal(existsSync(join(folder, 'postgres/postmaster.pid')), false);
      const left = readdirSync(folder).filter((name) => !/^(postgres|postgres\.log|master\.key.*)$/.test(name));
      assert.deepEqual(left, []);
      if (index < moments.length - 1) return;
      const server = await processes.start({ GATEHOUSE_DATA_DIR: folder });
      const { demo } = JSON.parse(readFileSync(join(folder, 'bootstrap.json'), 'utf8')) as {
        demo: { client_id: string; client_secret: string };
      };
      await requestToken(server.url, demo);
    });
  }

  for (const workers of ['1', '2']) {
    it(`holds no lock of a migration any more, with ${workers} workers (FIELD-F10)`, async () => {
      const database = await emptyDatabase();
      const operator = new pg.Client({ connectionString: database.url });
      await operator.connect();
      const found = async (what: string): Promise<boolean> => (await operator.query(what)).rows.length > 0;
      try {
        const running = await spawn({
          DATABASE_URL: database.url,
          GATEHOUSE_DATA_DIR: await makeFolder(),
          GATEHOUSE_WORKERS: workers,
        });
        await reaches(running, () =>
          found(`select from pg_locks where locktype = 'advisory' and database =
            (select oid from pg_database where datname = current_database())`),
        );
        running.signal('SIGTERM');
        const { code, stderr } = await running.ended(PATIENCE_MS);
        assert.deepEqual({ code, stderr }, { code: 0, stderr: told('SIGTERM') });
        await eventually(
          async () =>
            !(await found(`select from pg_stat_activity where datname = current_database()
              and application_name like 'gatehouse%'`)),
          PATIENCE_MS,
        );
        assert.ok(!(await found(`select from pg_class where relname = 'audit_events'`)), 'Some tables were made.');
      } finally {
        await operator.end();
        await database.drop();
      }
    });
  }

  it('of a command ends with the code of its signal, so that no script takes it for done (FIELD-F10)', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const DATABASE_URL = `postgres://nobody@127.0.0.1:${(silent.address() as AddressInfo).port}/none`;
    const running = await spawn({ DATABASE_URL }, [NODE, CLI, 'migrate']);
    const [socket] = (await once(silent, 'connection')) as [Socket];
    running.signal('SIGINT');
    const { code, stdout, stderr } = await running.ended(PATIENCE_MS);
    socket.destroy();
    silent.close();
    assert.deepEqual(
      { code, stdout, stderr },
      { code: 130, stdout: '', stderr: 'Stopped by SIGINT; unfinished changes were rolled back.\n' },
    );
  });

  it(
    'is called off in process 1 of a container, too, where signals have no default action (FIELD-F10)',
    { skip: !mayMakeNamespaces() && 'needs root and unshare to have a process 1' },
    async () => {
      const inNamespace = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', NODE, MAIN];
      const folder = await makeFolder();
      const running = await spawn({ GATEHOUSE_DATA_DIR: folder }, inNamespace);
      await reaches(running, () => readdirSync(folder).includes('postgres'));
      process.kill(childOf(running.pid), 'SIGTERM');
      const { code, stderr } = await running.ended(PATIENCE_MS);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: told('SIGTERM') });
      assert.equal(existsSync(join(folder, 'postgres/postmaster.pid')), false);
    },
  );
});

function postmasterIn(folder: string): number | undefined {
  const file = join(folder, 'postgres/postmaster.pid');
  return existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) || undefined : undefined;
}

/** `unshare` stays outside and waits for the process 1 that it has started. */
function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
}

function mayMakeNamespaces(): boolean {
  try {
    execFileSync('unshare', ['--pid', '--fork', '--mount-proc', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
