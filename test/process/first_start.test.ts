import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import pg from 'pg';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { removeFolder } from '../support/node/folder.ts';
import { requestToken } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { freeAddresses, isAlive, isGone, MAIN, NODE, Processes, type Server } from '../support/node/process.ts';

describe('the first start, with nothing configured', () => {
  const processes = new Processes();
  // One folder for all: each start also has to cope with what the one before it left behind.
  let dataDir = '';
  let addresses = { port: 0, managementPort: 0 };
  let first: Bootstrap;
  let server: Server;
  const servers: Server[] = [];
  const shown: string[] = [];

  const start = async (): Promise<Server> => {
    server = await processes.start({ GATEHOUSE_DATA_DIR: dataDir }, addresses);
    servers.push(server);
    return server;
  };
  const restart = async (): Promise<Server> => {
    await stop(server);
    return start();
  };

  before(async () => {
    dataDir = await temporaryFolder();
    addresses = await freeAddresses();
  });
  after(async () => {
    await processes.end();
    await removeFolder(dataDir);
  });

  it('brings a Postgres of its own and hands out a token within seconds', async (t) => {
    const began = performance.now();
    const { url } = await start();
    const { demo } = readBootstrap(dataDir);
    await verify(url, await requestToken(url, demo, 'notes:read'));
    t.diagnostic(`from the first start to a verified token: ${Math.round(performance.now() - began)} ms`);
    assert.ok(isAlive(postmaster(dataDir)));
  });

  it('writes how to reach it to a file that this user alone may read', async () => {
    const file = join(dataDir, 'bootstrap.json');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal((await stat(join(dataDir, 'master.key'))).mode & 0o777, 0o600);
    assert.equal((await stat(dataDir)).mode & 0o777, 0o700);
    first = readBootstrap(dataDir);
    assert.deepEqual(shape(first), {
      issuer: 'string',
      admin: { client_id: 'string', client_secret: 'string', resource: 'string', scope: 'string' },
      demo: { client_id: 'string', client_secret: 'string', resource: 'string', scope: 'string' },
      account: { email: 'string', password: 'string' },
      throwaway: { client_id: 'string' },
    });
    assert.equal(first.issuer, server.url);
    assert.equal(first.admin.resource, `${server.url}/admin/v1`);
  });

  it('prints three commands that get a token, verify it and rotate the secret when they are pasted', async () => {
    const commands = commandsOf(server);
    assert.equal(commands.length, 3);
    const marked = commands.join('\necho; echo ---\n');
    const ending = await processes.run(['/bin/sh', '-ec', marked]);
    assert.equal(ending.code, 0, ending.stderr);
    const [token = '', claims = '', rotation = ''] = ending.stdout.split('\n---\n');
    await verify(server.url, token.trim());
    assert.match(claims, /client_id: 'gatehouse-demo'/);
    const rotated = JSON.parse(rotation) as { client_secret: string };
    shown.push(token.trim(), rotated.client_secret);
    // it proves who it is, and may do nothing
    const throwaway = { ...first.throwaway, client_secret: rotated.client_secret };
    await assert.rejects(requestToken(server.url, throwaway), /invalid_target/);
    await requestToken(server.url, first.demo);
  });

  it('prints three commands that work again however often the third was pasted (FIELD-F6)', async () => {
    const [getToken = '', , rotate = ''] = commandsOf(server);
    const again = await processes.run(['/bin/sh', '-ec', `${`${rotate} >/dev/null\n`.repeat(3)}${getToken}`]);
    assert.equal(again.code, 0, again.stderr);
    shown.push(again.stdout.trim());
    // an hour later the secret before the last rotation has ended: the one that the file names must be the last one
    const { rows } = await query(
      dataDir,
      `select client_id, expires_at from client_secrets where client_id like 'gatehouse-%'`,
    );
    const limited = rows.filter((row) => row.expires_at !== null).map((row) => row.client_id);
    assert.ok(limited.length >= 3);
    assert.deepEqual([...new Set(limited)], ['gatehouse-throwaway']);
  });

  it('prints commands that show what the server says where they fail (FIELD-F6)', async () => {
    const [getToken = '', verifyIt = '', rotate = ''] = commandsOf(server);
    for (const command of [getToken, rotate]) {
      const refused = await processes.run(['/bin/sh', '-c', command.replace(/client_secret(?=')/, 'client_id')]);
      assert.notEqual(refused.code, 0);
      assert.equal(refused.stdout, '');
      assert.match(refused.stderr, /^invalid_client: client authentication failed/);
    }
    const nothing = await processes.run(['/bin/sh', '-c', `TOKEN=; ${verifyIt}`]);
    assert.deepEqual({ code: nothing.code, stderr: nothing.stderr }, { code: 1, stderr: 'Invalid Compact JWS\n' });
    const { port } = await freeAddresses();
    const elsewhere = getToken.replace(server.url, `http://localhost:${port}`);
    const unheard = await processes.run(['/bin/sh', '-c', elsewhere]);
    assert.notEqual(unheard.code, 0);
    assert.match(unheard.stderr, /^curl: \(7\).*\n$/);
  });

  it('finds the same clients, secrets and keys at the next start, and says them again', async (t) => {
    const keys = await readKeys(server.url);
    await stop(server);
    const began = performance.now();
    await start();
    await requestToken(server.url, first.demo);
    t.diagnostic(`from a later start to a token: ${Math.round(performance.now() - began)} ms`);
    assert.deepEqual(readBootstrap(dataDir), first);
    assert.deepEqual(await readKeys(server.url), keys);
    await requestToken(server.url, first.admin);
    assert.match(server.output().stdout, /Get a token/);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`stops cleanly, and its Postgres with it, at ${signal} to its whole group`, async () => {
      const pid = postmaster(dataDir);
      server.signalGroup(signal);
      await assertStoppedCleanly(server, pid);
      await start();
    });
  }

  for (const [signal, whom] of [
    ['SIGTERM', 'npm alone'],
    ['SIGINT', 'npm alone'],
    ['SIGTERM', 'the whole group'],
    ['SIGINT', 'the whole group'],
  ] as const) {
    it(`started by npm, stops cleanly at ${signal} to ${whom}`, async () => {
      await stop(server);
      const npm = await processes.ready(['npm', 'start'], { GATEHOUSE_DATA_DIR: dataDir }, addresses);
      server = npm;
      const pid = postmaster(dataDir);
      // lines of the log leave together, a moment after they were written
      await eventually(() => Promise.resolve(/"pid":\d/.test(npm.output().stdout)));
      const node = Number(/"pid":(\d+)/.exec(npm.output().stdout)?.[1]);
      assert.ok(isAlive(node));
      if (whom === 'npm alone') npm.signal(signal);
      else npm.signalGroup(signal);
      await assertStoppedCleanly(npm, pid);
      assert.ok(!isAlive(node));
    });
  }

  it('leaves nothing behind after kill -9 that the next start could stumble over', async () => {
    await start();
    const pid = postmaster(dataDir);
    server.signal('SIGKILL');
    await server.ended();
    await start();
    await isGone(pid);
    await requestToken(server.url, first.demo);
  });

  it('ends with code 1 when its Postgres is killed, and starts again with its data', async () => {
    process.kill(postmaster(dataDir), 'SIGKILL');
    const { code, stdout, stderr } = await server.ended();
    assert.deepEqual({ code, stderr }, { code: 1, stderr: '' });
    assert.match(stdout, /"reason":"PostgreSQL ended"/);
    await start();
    await requestToken(server.url, first.demo);
  });

  it('makes fresh secrets where bootstrap.json was deleted, and the old ones are dead', async () => {
    await rm(join(dataDir, 'bootstrap.json'));
    await restart();
    const fresh = readBootstrap(dataDir);
    assert.notEqual(fresh.account.password, first.account.password);
    for (const who of ['admin', 'demo'] as const) {
      assert.equal(fresh[who].client_id, first[who].client_id);
      await requestToken(server.url, fresh[who]);
      await assert.rejects(requestToken(server.url, first[who]), /invalid_client/);
    }
  });

  it('makes fresh secrets where bootstrap.json is damaged', async () => {
    await writeFile(join(dataDir, 'bootstrap.json'), '{"issuer"');
    await restart();
    await requestToken(server.url, readBootstrap(dataDir).demo);
  });

  it('moves to another port on the same data', async () => {
    await stop(server);
    addresses = await freeAddresses();
    await start();
    const moved = readBootstrap(dataDir);
    assert.equal(moved.issuer, server.url);
    assert.equal(moved.admin.resource, `${server.url}/admin/v1`);
    await verify(server.url, await requestToken(server.url, moved.demo, 'notes:read'));
    await requestToken(server.url, moved.admin);
  });

  it('never prints a secret, a password, a key or a token', async () => {
    const masterKey = (await readFile(join(dataDir, 'master.key'), 'utf8')).trim();
    const kept = [first, readBootstrap(dataDir)].flatMap(({ admin, demo, account }) => [
      admin.client_secret,
      demo.client_secret,
      account.password,
    ]);
    assert.ok(servers.length > 3);
    for (const { stdout, stderr } of servers.map((one) => one.output())) {
      assert.match(stdout, /gatehouse\.started/);
      assert.equal(stderr, '');
      for (const secret of [masterKey, ...kept, ...shown]) {
        assert.ok(secret.length >= 10);
        assert.ok(!stdout.includes(secret));
      }
    }
  });
});

describe('a first start that is killed half-way', () => {
  const processes = new Processes();
  const folders: string[] = [];
  after(async () => {
    await processes.end();
    for (const folder of folders) await removeFolder(folder);
  });

  const moments: readonly [what: string, reached: (files: readonly string[], stdout: string) => boolean][] = [
    ['the process began', () => true],
    ['it began to make its cluster', (files) => files.some((name) => name.startsWith('postgres.new-'))],
    ['the cluster was made', (files) => files.includes('postgres')],
    ['the tables were made', (files) => files.includes('master.key')],
    ['the first signing key was made', (_, stdout) => stdout.includes('signing_key.created')],
    ['the first clients were made', (_, stdout) => stdout.includes('client.created')],
  ];
  for (const [what, reached] of moments) {
    it(`is taken up by the next start when it died soon after ${what}`, async (t) => {
      const dataDir = await temporaryFolder();
      folders.push(dataDir);
      const { port, managementPort } = await freeAddresses();
      const environment = { GATEHOUSE_DATA_DIR: dataDir, GATEHOUSE_MANAGEMENT_PORT: String(managementPort) };
      const killed = processes.spawn([NODE, MAIN], { ...environment, PORT: String(port) });
      const deadline = performance.now() + 60_000;
      while (!reached(readdirSync(dataDir), killed.output().stdout)) {
        assert.ok(performance.now() < deadline && isAlive(killed.pid), killed.output().stderr);
        await delay(1);
      }
      const later = Math.random() * 150;
      await delay(later);
      killed.signal('SIGKILL');
      await killed.ended();
      t.diagnostic(`killed ${Math.round(later)} ms after ${what}`);

      const server = await processes.start({ GATEHOUSE_DATA_DIR: dataDir });
      const { admin, demo } = readBootstrap(dataDir);
      await requestToken(server.url, admin);
      await verify(server.url, await requestToken(server.url, demo, 'notes:read'));
      await stop(server);
      // a kill between two calls may leave a second name of the key, no more readable than the first
      const left = readdirSync(dataDir).filter((name) => !name.startsWith('master.key.'));
      assert.deepEqual(left.toSorted(), ['bootstrap.json', 'master.key', 'postgres', 'postgres.log']);
    });
  }
});

function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'gatehouse-start-'));
}

function readBootstrap(dataDir: string): Bootstrap {
  return JSON.parse(readFileSync(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
}

/** What a server prints to be pasted. */
function commandsOf(server: Server): string[] {
  const lines = server.output().stdout.split('\n');
  return lines.filter((_, index) => lines[index - 1]?.startsWith('# '));
}

/** Asks the database of a server that runs on this folder. */
async function query(dataDir: string, statement: string): Promise<pg.QueryResult<Record<string, unknown>>> {
  const client = new pg.Client({ host: join(dataDir, 'postgres'), user: 'gatehouse', database: 'postgres' });
  await client.connect();
  try {
    return await client.query<Record<string, unknown>>(statement);
  } finally {
    await client.end();
  }
}

/** The same members, each with the type of its value. */
function shape(value: object): object {
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      typeof member === 'object' ? shape(member as object) : typeof member,
    ]),
  );
}

async function verify(issuer: string, token: string): Promise<void> {
  const jwks = createRemoteJWKSet(new URL(`${issuer}/jwks`));
  await jwtVerify(token, jwks, { issuer, audience: 'https://api.example.com', typ: 'at+jwt' });
}

async function readKeys(url: string): Promise<unknown> {
  return (await fetch(`${url}/jwks`)).json();
}

function postmaster(dataDir: string): number {
  return Number.parseInt(readFileSync(join(dataDir, 'postgres/postmaster.pid'), 'utf8'), 10);
}

async function stop(server: Server): Promise<void> {
  if (isAlive(server.pid)) server.signal('SIGTERM');
  await server.ended();
}

async function assertStoppedCleanly(server: Server, postmasterPid: number): Promise<void> {
  const { code, signal, stdout, stderr } = await server.ended();
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
  assert.equal(stdout.match(/gatehouse\.stopped/g)?.length, 1);
  assert.ok(!isAlive(postmasterPid), 'Postgres still runs.');
}
