import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { CLI, MAIN, NODE, Processes, type Environment, type Server } from '../support/node/process.ts';

const LINUX = existsSync('/proc/self/task');

interface Admin {
  readonly client_id: string;
  readonly client_secret: string;
  readonly resource: string;
  readonly token_endpoint: string;
}

describe('a server in production', () => {
  const processes = new Processes();
  const masterKey = randomBytes(32).toString('base64');
  const dataDir = join(tmpdir(), `gatehouse-production-${randomBytes(6).toString('hex')}`);
  let database: TestDatabase;
  let production: Environment;
  let server: Server;

  before(async () => {
    database = await emptyDatabase();
    production = {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: masterKey,
      GATEHOUSE_DATA_DIR: dataDir,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '4',
    };
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await rm(dataDir, { recursive: true, force: true });
  });

  it('demands a database, an https issuer and a master key, by name and all at once', async () => {
    const ending = await processes.run([NODE, MAIN], { NODE_ENV: 'production', ISSUER: 'http://localhost:3000' });
    assert.equal(ending.code, 1);
    assert.equal(ending.stdout, '');
    assert.equal(
      ending.stderr,
      [
        "Gatehouse can't start. DATABASE_URL is required in production, such as postgres://user:password@host:5432/database.",
        'ISSUER must use https in production.',
        'GATEHOUSE_MASTER_KEY is required in production: 32 random bytes; make them with: openssl rand -base64 32.',
        '',
      ].join('\n'),
    );
  });

  it('refuses settings that are unsafe there, by name', async () => {
    const unsafe = { GATEHOUSE_TRUSTED_PROXIES: '0.0.0.0/0', LOG_LEVEL: 'silent' };
    const { code, stderr } = await processes.run([NODE, MAIN], { ...production, ...unsafe });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^Gatehouse can't start\. LOG_LEVEL must not be silent .*\nGATEHOUSE_TRUSTED_PROXIES must not trust .*\n$/,
    );
  });

  it('starts with no client, no account and no file of its own', async () => {
    server = await processes.start(production);
    assert.equal(existsSync(dataDir), false);
    const { stdout, stderr } = server.output();
    assert.equal(stderr, '');
    // every line is for a log collector, and none tells what to paste
    for (const line of stdout.trimEnd().split('\n')) assert.ok(JSON.parse(line));
    await assert.rejects(
      requestToken(server.url, { client_id: 'gatehouse-demo', client_secret: 'x' }),
      /invalid_client/,
    );
    await assert.rejects(
      requestToken(server.url, { client_id: 'gatehouse-admin', client_secret: 'x' }),
      /invalid_client/,
    );
  });

  it('gets its first admin from the command line, who then sees that there is no other account', async () => {
    const created = await processes.run(
      ['npm', 'run', '-s', 'gatehouse', '--', 'create-admin', '--name', 'First'],
      production,
    );
    assert.equal(created.code, 0, created.stderr);
    assert.equal(created.stderr, '');
    const admin = JSON.parse(created.stdout) as Admin;
    assert.equal(admin.resource, 'https://id.example.com/admin/v1');
    assert.equal(admin.token_endpoint, 'https://id.example.com/token');

    const token = await requestToken(server.url, admin);
    const call = async (path: string): Promise<{ items: Record<string, unknown>[] }> => {
      const answer = await fetch(`${server.url}/admin/v1${path}`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal(answer.status, 200);
      return (await answer.json()) as { items: Record<string, unknown>[] };
    };
    const clients = (await call('/clients')).items.map(({ client_id, client_name }) => ({ client_id, client_name }));
    assert.deepEqual(clients, [{ client_id: admin.client_id, client_name: 'First' }]);
    assert.deepEqual((await call('/accounts')).items, []);
    const rotated = await fetch(`${server.url}/admin/v1/keys/rotate`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ alg: 'ES256', reason: 'the first admin tries it' }),
    });
    assert.equal(rotated.status, 200);
    assert.ok(!server.output().stdout.includes(admin.client_secret));
  });

  it('says what is wrong with a command in one sentence', async () => {
    const closed = await processes.run([NODE, CLI, 'create-admin'], { ...production, GATEHOUSE_MASTER_KEY: '' });
    assert.equal(closed.code, 1);
    assert.match(closed.stderr, /^GATEHOUSE_MASTER_KEY is required in production: .*\n$/);
    const nameless = await processes.run([NODE, CLI, 'create-admin', '--name', ' '], production);
    assert.equal(nameless.code, 1);
    assert.equal(nameless.stdout, '');
    assert.equal(nameless.stderr, 'The name must not be empty.\n');
  });

  it(
    'has helper threads that give way to the one that answers',
    { skip: !LINUX && 'only Linux tells threads apart' },
    () => {
      const threads = readdirSync(`/proc/${server.pid}/task`);
      const answers = niceness(server.pid, String(server.pid));
      const helpers = threads.filter((thread) =>
        /V8Worker/.test(readFileSync(`/proc/${server.pid}/task/${thread}/comm`, 'utf8')),
      );
      assert.ok(helpers.length > 0);
      for (const helper of helpers) assert.equal(niceness(server.pid, helper) - answers, 3);
    },
  );

  it('still answers while load balancers learn that it is going, and then ends with code 0', async () => {
    server.signal('SIGTERM');
    const ready = async (): Promise<number> => (await fetch(`${server.managementUrl}/readyz`)).status;
    const until = performance.now() + 3_000;
    while ((await ready()) !== 503) assert.ok(performance.now() < until);
    assert.equal((await fetch(`${server.url}/jwks`)).status, 200);
    assert.equal((await fetch(`${server.managementUrl}/healthz`)).status, 200);
    const { code, signal, stderr } = await server.ended();
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
  });
});

/** The 19th field of what proc(5) calls stat; the second one may have spaces. */
function niceness(pid: number, thread: string): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').split(') ');
  return Number(fields.split(' ')[16]);
}
