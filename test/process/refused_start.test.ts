import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { startEmbedded, type Embedded } from '../../src/db/embedded.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { freeAddresses, MAIN, NODE, Processes, type Ending, type Environment } from '../support/node/process.ts';

const PASSWORD = 'pass-phrase-of-the-database';
const MASTER_KEY = randomBytes(32).toString('base64');
const OTHER_MASTER_KEY = randomBytes(32).toString('base64');

describe('a server that can not start says why in one sentence', () => {
  const processes = new Processes();
  let folder = '';
  let database: TestDatabase;
  let withPassword: Embedded;
  let occupied: Server;
  let relay: Server;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-refused-'));
    database = await cloneDatabase();
    withPassword = await startWithPassword(folder);
    // takes connections and never says a word
    occupied = await listening(() => {});
    // for those who may not enter the socket's folder
    relay = await listening((near) => {
      const far = connect(join(socketFolder(), '.s.PGSQL.5432'));
      pipeline(near, far, near, () => {});
    });
  });
  after(async () => {
    await processes.end();
    occupied.close();
    relay.close();
    await withPassword.stop();
    await database.drop();
    await removeFolder(folder);
  });

  /** What a server with this environment says as it gives up; `sentence` is all of it. */
  async function refuses(environment: Environment, sentence: string | RegExp, command = [NODE, MAIN]): Promise<void> {
    const { port, managementPort } = await freeAddresses();
    const ending = await processes.run(command, {
      GATEHOUSE_DATA_DIR: join(folder, 'data'),
      DATABASE_URL: database.url,
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
      ...environment,
    });
    assertPlain(ending);
    if (typeof sentence === 'string') assert.equal(ending.stderr, `Gatehouse can't start. ${sentence}\n`);
    else assert.match(ending.stderr, sentence);
  }

  const port = (): number => portOf(occupied);
  const socketFolder = (): string => new URL(withPassword.url).searchParams.get('host') ?? '';

  it('when its port is taken', async () => {
    await refuses({ PORT: String(port()) }, `Port ${port()} on 127.0.0.1 is in use by another program.`);
  });

  it('when its port is taken, however many workers would share it', async () => {
    const ports = [{ PORT: String(port()) }, { GATEHOUSE_MANAGEMENT_PORT: String(port()) }];
    for (const taken of ports) {
      await refuses({ GATEHOUSE_WORKERS: '2', ...taken }, `Port ${port()} on 127.0.0.1 is in use by another program.`);
    }
  });

  for (const name of ['GATEHOUSE_MANAGEMENT_PORT', 'GATEHOUSE_ADMIN_PORT']) {
    it(`when the port that was chosen with ${name} is taken`, async () => {
      await refuses({ [name]: String(port()) }, `Port ${port()} on 127.0.0.1 is in use by another program.`);
    });
  }

  it('when it is told to listen on an address that is not its own', async () => {
    await refuses(
      { HOST: 'nowhere.invalid' },
      /^Gatehouse can't start\. Cannot listen on nowhere\.invalid:\d+: .*\.\n$/,
    );
  });

  it('when variables are bad: all of them at once, and those that it does not know', async () => {
    await refuses(
      {
        PORT: 'http',
        LOG_LEVEL: 'loud',
        GATEHOUSE_MASTER_KEY: PASSWORD,
        GATEHOUSE_REFRESH_GRACE_SECONDS: '61',
        GATEHOUSE_DATABSE_URL: database.url,
      },
      [
        'PORT must be a port number from 1 to 65535.',
        'LOG_LEVEL must be fatal, error, warn, info, debug, trace or silent.',
        'GATEHOUSE_MASTER_KEY must be 32 random bytes in base64 or hex; make one with: openssl rand -base64 32.',
        'GATEHOUSE_REFRESH_GRACE_SECONDS must be a whole number from 0 to 60.',
        'GATEHOUSE_DATABSE_URL is not a variable of Gatehouse.',
      ].join('\n'),
    );
  });

  it('when nothing listens where the database should be', async () => {
    const { port: free } = await freeAddresses();
    await refuses(
      { DATABASE_URL: `postgres://gatehouse:${PASSWORD}@127.0.0.1:${free}/gatehouse` },
      `The database at 127.0.0.1:${free} can't be reached: connect ECONNREFUSED 127.0.0.1:${free}. Check DATABASE_URL.`,
    );
  });

  it('when no address is known for the host of the database', async () => {
    await refuses(
      { DATABASE_URL: `postgres://gatehouse:${PASSWORD}@database.invalid/gatehouse` },
      /^Gatehouse can't start\. The database at database\.invalid:5432 can't be reached: getaddrinfo \w+ database\.invalid\. Check DATABASE_URL\.\n$/,
    );
  });

  it('when what listens where the database should be never answers', async () => {
    await refuses(
      { DATABASE_URL: `postgres://gatehouse:${PASSWORD}@127.0.0.1:${port()}/gatehouse` },
      /^Gatehouse can't start\. The database at 127\.0\.0\.1:\d+ can't be reached: .*timeout.*\. Check DATABASE_URL\.\n$/,
    );
  });

  it('when the database wants another password', async () => {
    await refuses(
      { DATABASE_URL: `postgres://owner:${PASSWORD}@localhost/postgres?host=${encodeURIComponent(socketFolder())}` },
      `The database at ${socketFolder()} can't be reached: password authentication failed for user "owner". Check DATABASE_URL.`,
    );
  });

  it('when the database has no such name', async () => {
    await refuses(
      { DATABASE_URL: withPassword.url.replace('/postgres?', '/missing?') },
      `The database at ${socketFolder()} can't be reached: database "missing" does not exist. Check DATABASE_URL.`,
    );
  });

  it('when it may not make its tables', async () => {
    await refuses(
      { DATABASE_URL: `postgres://guest:right@localhost/postgres?host=${encodeURIComponent(socketFolder())}` },
      "The database's tables can't be brought up to date: permission denied for schema public.",
    );
  });

  it('when DATABASE_URL names a certificate that is not there', async () => {
    await refuses(
      { DATABASE_URL: `postgres://gatehouse:${PASSWORD}@127.0.0.1/gatehouse?sslrootcert=/nowhere/ca.pem` },
      "DATABASE_URL can't be used: ENOENT: no such file or directory, open '/nowhere/ca.pem'.",
    );
  });

  it('when the database was sealed with another master key', async () => {
    const server = await processes.start({ DATABASE_URL: database.url, ...dataDir('data') });
    server.signal('SIGTERM');
    await server.ended();
    await refuses(
      { GATEHOUSE_MASTER_KEY: OTHER_MASTER_KEY },
      'GATEHOUSE_MASTER_KEY is not the key that sealed this database. Set that key again, or set it in GATEHOUSE_MASTER_KEY_PREVIOUS while you change to a new one.',
    );
    // said by a worker to its primary, and once
    await refuses(
      { GATEHOUSE_MASTER_KEY: OTHER_MASTER_KEY, GATEHOUSE_WORKERS: '2' },
      'GATEHOUSE_MASTER_KEY is not the key that sealed this database. Set that key again, or set it in GATEHOUSE_MASTER_KEY_PREVIOUS while you change to a new one.',
    );
  });

  for (const [what, content] of [
    ['cut off', MASTER_KEY.slice(0, 20)],
    ['empty', ''],
  ] as const) {
    it(`when the file of the master key is ${what}`, async () => {
      const file = join(await makeFolder(what), 'master.key');
      await writeFile(file, content);
      await refuses(
        dataDir(what),
        `${file} does not hold a master key of 32 bytes in base64. Restore the right key, or set GATEHOUSE_MASTER_KEY.`,
      );
      assert.equal(await readFile(file, 'utf8'), content);
    });
  }

  it('when the master key can not be read', async () => {
    const file = join(await makeFolder('unreadable'), 'master.key');
    await writeFile(file, MASTER_KEY, { mode: 0o000 });
    await refuses(
      { DATABASE_URL: `postgres://gatehouse@127.0.0.1:${portOf(relay)}/postgres`, ...dataDir('unreadable') },
      `The file of the master key, ${file}, can't be used: EACCES: permission denied, open '${file}'. Correct that, or set GATEHOUSE_MASTER_KEY.`,
      AS_ORDINARY_USER,
    );
  });

  it('when it may not write to its data folder, wherever the database and the master key are', async () => {
    const locked = await makeFolder('locked');
    await chmod(locked, 0o500);
    const cannot = (what: string): RegExp =>
      new RegExp(`^Gatehouse can't start\\. ${what}.* EACCES: permission denied, .*\\.\n$`);
    await refuses(
      { DATABASE_URL: '', ...dataDir('locked') },
      cannot(`The data folder ${locked} can't be used`),
      AS_ORDINARY_USER,
    );
    const reachable = {
      DATABASE_URL: `postgres://gatehouse@127.0.0.1:${portOf(relay)}/postgres`,
      ...dataDir('locked'),
    };
    await refuses(reachable, cannot(`The file of the master key, ${locked}/master.key`), AS_ORDINARY_USER);
    await refuses(
      { ...reachable, GATEHOUSE_MASTER_KEY: MASTER_KEY },
      cannot(`${locked}/bootstrap.json cannot be written`),
      AS_ORDINARY_USER,
    );
  });

  it('when its data folder is a file', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await refuses(
      { DATABASE_URL: '', ...dataDir('file') },
      `The data folder ${file} can't be used: EEXIST: file already exists, mkdir '${file}'. Set GATEHOUSE_DATA_DIR to one that this user may write to.`,
    );
  });

  it('when another server runs on its data folder, which keeps running', async () => {
    const running = await processes.start(dataDir('shared'));
    const written = await readFile(join(folder, 'shared/bootstrap.json'), 'utf8');
    await refuses(
      { DATABASE_URL: '', ...dataDir('shared') },
      `Another Gatehouse is running on ${join(folder, 'shared')}: stop it, or set GATEHOUSE_DATA_DIR to another folder.`,
    );
    assert.equal(await readFile(join(folder, 'shared/bootstrap.json'), 'utf8'), written);
    const { demo } = JSON.parse(written) as Bootstrap;
    await requestToken(running.url, demo);
  });

  async function makeFolder(name: string): Promise<string> {
    await mkdir(join(folder, name));
    return join(folder, name);
  }

  function dataDir(name: string): { readonly GATEHOUSE_DATA_DIR: string } {
    return { GATEHOUSE_DATA_DIR: join(folder, name) };
  }
});

/** Root may read and write everything; where the tests run as root, this one may not. */
const AS_ORDINARY_USER =
  process.getuid?.() === 0
    ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-all', NODE, MAIN]
    : [NODE, MAIN];

/** Nothing that only programmers understand, no secret, and a code that a supervisor sees. */
function assertPlain({ code, stdout, stderr }: Ending): void {
  assert.equal(code, 1, stderr || stdout);
  assert.doesNotMatch(stderr, /^\s+at |this is a bug|node:internal/m);
  for (const secret of [PASSWORD, MASTER_KEY, OTHER_MASTER_KEY]) {
    assert.ok(!stdout.includes(secret) && !stderr.includes(secret), `A secret is in: ${stderr}`);
  }
}

/** A Postgres with roles that need a password: on the one that all tests share, no role does. */
async function startWithPassword(folder: string): Promise<Embedded> {
  const access = join(folder, 'pg_hba.conf');
  await writeFile(access, 'local all gatehouse trust\nlocal all all scram-sha-256\n');
  const postgres = await startEmbedded(join(folder, 'password'), ['fsync=off', `hba_file=${access}`]);
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(`create role owner login password 'right'; create role guest login password 'right'`);
  await client.end();
  return postgres;
}

async function listening(onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer(onConnection);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
