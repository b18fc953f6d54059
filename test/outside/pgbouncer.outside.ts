/** Gatehouse behind the PgBouncer of Debian (package `pgbouncer`), in each of its modes. */
import assert from 'node:assert/strict';
import { chmod, chown, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { freeAddresses, MAIN, NODE, Processes, type Running } from '../support/node/process.ts';

const ORDINARY_USER = 65_534;
const IS_ROOT = process.getuid?.() === 0;
/** PgBouncer refuses to run as root. The socket of the tests' PostgreSQL is for one user alone, so one capability stays. */
const AS_ORDINARY_USER = [
  'setpriv',
  `--reuid=${ORDINARY_USER}`,
  `--regid=${ORDINARY_USER}`,
  '--clear-groups',
  '--securebits=+no_setuid_fixup',
  '--inh-caps=-all,+dac_override',
  '--ambient-caps=-all,+dac_override',
];

describe('PgBouncer', () => {
  const processes = new Processes();
  let folder = '';
  let database: TestDatabase;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-pgbouncer-'));
    database = await emptyDatabase();
    if (IS_ROOT) await chown(folder, ORDINARY_USER, ORDINARY_USER);
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  });

  /** Its URL. Nothing but the mode and the size of the pool is said to it: the rest are its defaults. */
  const startIn = async (mode: string): Promise<{ url: string; bouncer: Running }> => {
    const { port } = await freeAddresses();
    const target = new URL(database.url);
    const name = target.pathname.slice(1);
    const host = target.searchParams.get('host') ?? target.hostname;
    const file = join(folder, `${mode}.ini`);
    await writeFile(
      file,
      `[databases]\n${name} = host=${host} port=${target.port || 5432} user=${target.username} password=${target.password || 'none'}
[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nauth_type = any\npool_mode = ${mode}
default_pool_size = 60\npidfile = ${join(folder, `${mode}.pid`)}\nunix_socket_dir =\n`,
    );
    await chmod(file, 0o644);
    const bouncer = processes.spawn([...(IS_ROOT ? AS_ORDINARY_USER : []), '/usr/sbin/pgbouncer', file]);
    const url = `postgres://${target.username}@127.0.0.1:${port}/${name}`;
    await eventually(async () => {
      const client = new pg.Client({ connectionString: url });
      client.on('error', () => {});
      return client.connect().then(
        async () => (await client.end(), true),
        () => false,
      );
    }, 10_000);
    return { url, bouncer };
  };

  it('in session mode carries a node with two workers, its LISTEN included (FIELD-F3)', async () => {
    const { url } = await startIn('session');
    const server = await processes.start({
      DATABASE_URL: url,
      GATEHOUSE_DATA_DIR: join(folder, 'data'),
      GATEHOUSE_WORKERS: '2',
    });
    const { demo } = JSON.parse(await readFile(join(folder, 'data/bootstrap.json'), 'utf8')) as {
      demo: { client_id: string; client_secret: string };
    };
    for (let i = 0; i < 20; i++) await requestToken(server.url, demo);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await eventually(async () => {
      const { rows } = await client.query(
        `select from pg_stat_activity
          where datname = current_database() and query ~ '^(listen gatehouse_changes|notify gatehouse_echo_)'`,
      );
      return rows.length === 2;
    }, 10_000);
    await client.end();
    server.signal('SIGTERM');
    const { code, stdout, stderr } = await server.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.doesNotMatch(stdout, /database\.away|unreadable/);
  });

  for (const mode of ['transaction', 'statement']) {
    it(`in ${mode} mode is refused at the start in one sentence (FIELD-F3)`, async () => {
      const { url } = await startIn(mode);
      const { port, managementPort } = await freeAddresses();
      const { code, stderr } = await processes.run([NODE, MAIN], {
        DATABASE_URL: url,
        GATEHOUSE_DATA_DIR: join(folder, mode),
        PORT: String(port),
        GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
      });
      assert.deepEqual(
        { code, stderr },
        {
          code: 1,
          stderr:
            "Gatehouse can't start. A pooler between this node and PostgreSQL gives each transaction another connection. Set it to session mode (pool_mode = session in PgBouncer), or connect to PostgreSQL directly in DATABASE_URL.\n",
        },
      );
    });
  }
});
