import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { postForm, requestToken } from '../support/node/gatehouse.ts';
import { CLI, MAIN, NODE, Processes, type Environment, type Server } from '../support/node/process.ts';

const OLD = randomBytes(32).toString('base64');
const NEW = randomBytes(32).toString('base64');

describe('a change of the master key', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let admin: { readonly client_id: string; readonly client_secret: string };
  let token = '';
  let server: Server;

  before(async () => {
    database = await cloneDatabase();
    server = await processes.start(withKeys(OLD));
    const created = await processes.run([NODE, CLI, 'create-admin'], withKeys(OLD));
    admin = JSON.parse(created.stdout) as typeof admin;
    token = await requestToken(server.url, admin);
  });
  after(async () => {
    await processes.end();
    await database.drop();
  });

  it('is refused, and changes nothing, without the key that sealed the database', async () => {
    const sealed = await dataKeys();
    const ending = await rewrap(withKeys(NEW));
    assert.equal(ending.code, 1);
    assert.match(ending.stderr, /^GATEHOUSE_MASTER_KEY is not the key that sealed this database\. .*\n$/);
    assert.deepEqual(await dataKeys(), sealed);
  });

  it('works under a server that knows both keys: tokens, secrets and introspection are answered all the while', async (t) => {
    await stop(server);
    server = await processes.start(withKeys(NEW, OLD));
    const changed = new AbortController();
    const changing = rewrap(withKeys(NEW, OLD)).finally(() => changed.abort());
    let answered = 0;
    while (!changed.signal.aborted) {
      assert.ok(await isActive(server, await requestToken(server.url, admin)));
      assert.ok(await isActive(server, token));
      answered += 2;
    }
    const ending = await changing;
    const { length } = await dataKeys();
    assert.equal(
      ending.stdout,
      `${length} data keys are now encrypted with GATEHOUSE_MASTER_KEY. GATEHOUSE_MASTER_KEY_PREVIOUS is no longer needed.\n`,
    );
    assert.deepEqual({ code: ending.code, stderr: ending.stderr }, { code: 0, stderr: '' });
    t.diagnostic(`${answered} introspections while ${length} data keys were sealed anew`);
  });

  it('leaves nothing to do for a second time', async () => {
    const sealed = await dataKeys();
    const ending = await rewrap(withKeys(NEW, OLD));
    assert.equal(ending.stdout, 'Nothing to do: every data key is encrypted with GATEHOUSE_MASTER_KEY.\n');
    assert.equal(ending.code, 0);
    assert.deepEqual(await dataKeys(), sealed);
  });

  it('is in the audit trail once', async () => {
    const events = await query(`select details from audit_events where event = 'master_key.changed'`);
    assert.deepEqual(events, [{ details: { rewrapped: (await dataKeys()).length } }]);
  });

  it('is complete: a server with the new key alone knows every secret, token and signing key', async () => {
    const keys = await (await fetch(`${server.url}/jwks`)).json();
    await stop(server);
    server = await processes.start(withKeys(NEW));
    assert.deepEqual(await (await fetch(`${server.url}/jwks`)).json(), keys);
    assert.ok(await isActive(server, token));
    const clients = await fetch(`${server.url}/admin/v1/clients`, {
      headers: { authorization: `Bearer ${await requestToken(server.url, admin)}` },
    });
    assert.equal(clients.status, 200);
  });

  it('leaves the old key worthless', async () => {
    const ending = await processes.run([NODE, MAIN], withKeys(OLD));
    assert.equal(ending.code, 1);
    assert.match(
      ending.stderr,
      /^Gatehouse can't start\. GATEHOUSE_MASTER_KEY is not the key that sealed this database\. .*\n$/,
    );
  });

  it('prints neither key', () => {
    for (const { stdout, stderr } of endings) {
      for (const key of [OLD, NEW]) assert.ok(!(stdout + stderr).includes(key));
    }
    assert.ok(endings.length >= 3);
  });

  const endings: { readonly stdout: string; readonly stderr: string }[] = [];

  async function rewrap(environment: Environment) {
    const ending = await processes.run([NODE, CLI, 'rewrap-master-key'], environment);
    endings.push(ending);
    return ending;
  }

  function withKeys(key: string, previous = ''): Environment {
    return {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
      GATEHOUSE_MASTER_KEY: key,
      GATEHOUSE_MASTER_KEY_PREVIOUS: previous,
    };
  }

  async function isActive({ url }: Server, presented: string): Promise<boolean> {
    const answer = await postForm(`${url}/introspect`, { token: presented }, admin);
    return ((await answer.json()) as { active: boolean }).active;
  }

  function dataKeys(): Promise<unknown[]> {
    return query('select data_key_id, master_key_id, wrapped from data_keys order by data_key_id');
  }

  async function query(statement: string): Promise<unknown[]> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      return (await client.query(statement)).rows;
    } finally {
      await client.end();
    }
  }
});

async function stop(server: Server): Promise<void> {
  server.signal('SIGTERM');
  await server.ended();
}
