import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text as readAll } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { Admin, type Answer } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';

describe('writes to the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const countNamed = async (name: string): Promise<number> =>
    (await admin.get(`/clients?q=${encodeURIComponent(name)}`)).body.items.length;

  describe('take a body that', () => {
    const types: readonly [type: string, method: string, status: number][] = [
      ['application/json', 'POST', 201],
      ['application/json; charset=utf-8', 'POST', 201],
      ['Application/JSON', 'POST', 201],
      ['application/merge-patch+json', 'PATCH', 200],
      ['application/json', 'PATCH', 200],
      ['application/merge-patch+json', 'POST', 415],
      ['text/plain', 'POST', 415],
      ['application/x-www-form-urlencoded', 'POST', 415],
      ['application/json; charset=utf-16', 'POST', 415],
      ['application/json-patch+json', 'PATCH', 415],
    ];
    for (const [type, method, status] of types) {
      it(`is ${type} in ${method}: ${status}`, async () => {
        const path = method === 'POST' ? '/clients' : `/clients/${gatehouse.demo.client_id}`;
        const answer = await admin.send(method, path, '{}', { 'content-type': type });
        assert.equal(answer.status, status, answer.text);
      });
    }

    it('is not compressed', async () => {
      assert.equal((await admin.send('POST', '/clients', '{}', { 'content-encoding': 'gzip' })).status, 415);
    });

    it('has 64 KiB at most, whether it says its length or not', async () => {
      const sized = (bytes: number): string => JSON.stringify({ client_name: 'x' }).padEnd(bytes, ' ');
      assert.equal((await admin.send('POST', '/clients', sized(65_536))).status, 201);
      assert.equal((await admin.send('POST', '/clients', sized(65_537))).status, 413);
      assert.equal((await admin.send('POST', '/clients', sized(3_000_000))).status, 413);
      assert.equal(await statusOfChunked(gatehouse, await gatehouse.adminToken(), sized(70_000)), 413);
      assert.equal(await statusOfChunked(gatehouse, await gatehouse.adminToken(), sized(60_000)), 201);
    });

    const malformed: readonly [
      what: string,
      body: string | Uint8Array<ArrayBuffer>,
      pointer: string,
      detail: RegExp,
    ][] = [
      ['breaks off', '{"client_name": "x"', '', /not valid JSON at character 20/],
      ['has a comma too many', '{"client_name": "x",}', '', /not valid JSON/],
      ['is followed by more', '{} {}', '', /not valid JSON/],
      ['has single quotes', "{'client_name': 'x'}", '', /not valid JSON/],
      ['has a comment', '{/* */}', '', /not valid JSON/],
      ['is an array', '[]', '', /must be an object/],
      ['is null', 'null', '', /must be an object/],
      ['is not UTF-8', Uint8Array.from([0x22, 0xff, 0x22]), '', /UTF-8/],
      ['names a member twice', '{"client_name":"a","client_name":"b"}', '/client_name', /twice/],
      ['names a member twice, once escaped', '{"client_name":"a","client\\u005fname":"b"}', '/client_name', /twice/],
      ['names a member twice deep inside', '{"jwks":{"keys":[{"kty":"EC","kty":"RSA"}]}}', '/jwks/keys/0/kty', /twice/],
      ['reaches for the prototype', '{"__proto__":{"isAdmin":true}}', '/__proto__', /not an allowed member name/],
      [
        'reaches for the constructor',
        '{"jwks":{"constructor":{"prototype":{}}}}',
        '/jwks/constructor',
        /not an allowed member name/,
      ],
      ['is nested too deep', `${'['.repeat(5_000)}${']'.repeat(5_000)}`, '/0'.repeat(17), /nested/],
      ['has a NUL character', '{"client_name":"a\\u0000b"}', '/client_name', /NUL/],
      ['has half a surrogate pair', '{"client_name":"\\ud800"}', '/client_name', /surrogate/],
      ['has a number out of range', '{"secret_rotation_days":1e999}', '/secret_rotation_days', /too large/],
      ['has a slash in an unknown name', '{"a/b~c":1}', '/a~1b~0c', /not known/],
    ];
    for (const [what, body, pointer, detail] of malformed) {
      it(`${what}: 400 with the place`, async () => {
        const answer = await admin.send('POST', '/clients', body);
        assert.equal(answer.status, 400, answer.text);
        assert.equal(answer.body.errors[0]?.pointer, pointer);
        assert.match(answer.body.errors[0]?.detail ?? '', detail);
      });
    }

    it('has no members where the call takes none', async () => {
      const path = `/clients/${gatehouse.demo.client_id}/restore`;
      const answer = await admin.post(path, { reason: 'x' });
      assert.deepEqual([answer.status, answer.body.errors[0]?.pointer], [400, '/reason']);
    });
  });

  describe('with an Idempotency-Key', () => {
    it('happen once and answer twice, secret included', async () => {
      const headers = { 'idempotency-key': 'once-and-twice' };
      const first = await admin.post('/clients', { client_name: 'Made once' }, headers);
      const second = await admin.post('/clients', { client_name: 'Made once' }, headers);
      assert.equal(first.headers.get('idempotency-replayed'), null);
      assert.equal(second.headers.get('idempotency-replayed'), 'true');
      assert.equal(second.text, first.text);
      for (const name of ['etag', 'location']) assert.equal(second.headers.get(name), first.headers.get(name));
      assert.equal(await countNamed('Made once'), 1);
    });

    it('happen once when they arrive together', async () => {
      const headers = { 'idempotency-key': 'together' };
      const attempts = Array.from({ length: 6 }, () =>
        admin.post('/clients', { client_name: 'Made together' }, headers),
      );
      const answers = await Promise.all(attempts);
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([201]));
      assert.equal(new Set(answers.map(({ body }) => body.client_secret)).size, 1);
      assert.equal(await countNamed('Made together'), 1);
    });

    it('replay a DELETE of what is gone by now', async () => {
      const { body } = await admin.post('/clients', {});
      const remove = (): Promise<Answer> => admin.delete(`/clients/${body.client_id}`, { 'idempotency-key': 'remove' });
      assert.equal((await remove()).status, 204);
      assert.equal((await remove()).status, 204);
      assert.equal((await admin.delete(`/clients/${body.client_id}`)).status, 404);
    });

    it('are refused when the key came with another body, path or method', async () => {
      const headers = { 'idempotency-key': 'another' };
      const { body } = await admin.post('/clients', { client_name: 'Another' }, headers);
      const others = [
        await admin.post('/clients', { client_name: 'Another one' }, headers),
        await admin.post(`/clients/${body.client_id}/secrets`, { client_name: 'Another' }, headers),
        await admin.post('/resources', { client_name: 'Another' }, headers),
        await admin.delete(`/clients/${body.client_id}`, headers),
      ];
      assert.deepEqual(
        others.map(({ status }) => status),
        [422, 400, 400, 422],
      );
      assert.equal(others[0]?.body['type'], 'urn:gatehouse:problem:key_reused');
      assert.ok(!others[0].text.includes(body.client_secret));
    });

    it('belong to their caller: another one’s key is another key', async () => {
      const headers = { 'idempotency-key': 'shared' };
      const lesser = await admin.lesser('clients:write');
      const mine = await admin.post('/clients', { client_name: 'Whose' }, headers);
      const theirs = await lesser.post('/clients', { client_name: 'Whose' }, headers);
      assert.equal(theirs.status, 201);
      assert.notEqual(theirs.body.client_id, mine.body.client_id);
    });

    it('may be mended and sent again: a refusal is not kept', async () => {
      const headers = { 'idempotency-key': 'mended' };
      assert.equal((await admin.post('/accounts', { email: gatehouse.account.email }, headers)).status, 409);
      assert.equal((await admin.post('/accounts', { email: 'mended@example.com' }, headers)).status, 201);
    });

    it('count as new after a day', async () => {
      const headers = { 'idempotency-key': 'yesterday' };
      const first = await admin.post('/clients', {}, headers);
      await gatehouse.database
        .updateTable('idempotency_keys')
        .set({ created_at: new Date(Date.now() - 86_401_000) })
        .where('idempotency_key', '=', 'yesterday')
        .execute();
      const second = await admin.post('/clients', {}, headers);
      assert.notEqual(second.body.client_id, first.body.client_id);
      assert.equal((await admin.post('/clients', {}, headers)).body.client_id, second.body.client_id);
    });

    it('keep no reply that a copy of the database would show', async () => {
      const { body } = await admin.post('/clients', {}, { 'idempotency-key': 'sealed' });
      const row = await gatehouse.database
        .selectFrom('idempotency_keys')
        .selectAll()
        .where('idempotency_key', '=', 'sealed')
        .executeTakeFirstOrThrow();
      const stored = Object.values(row).map((value) =>
        Buffer.isBuffer(value) ? value.toString('latin1') : String(value),
      );
      assert.ok(row.reply!.length > 100);
      assert.ok(!stored.join().includes(body.client_id) && !stored.join().includes(body.client_secret));
    });

    it('take 1 to 255 visible characters as a key', async () => {
      assert.equal((await admin.post('/clients', {}, { 'idempotency-key': 'x'.repeat(255) })).status, 201);
      for (const key of ['x'.repeat(256), 'a b', 'é']) {
        const answer = await admin.post('/clients', {}, { 'idempotency-key': key });
        assert.deepEqual([answer.status, answer.body.errors[0]?.parameter], [400, 'Idempotency-Key'], key);
      }
    });
  });

  describe('with entity tags', () => {
    const things: readonly { noun: string; make: () => Promise<string>; patch: object }[] = [
      {
        noun: 'a client',
        make: async () => `/clients/${(await admin.post('/clients', {})).body.client_id}`,
        patch: { client_name: 'Changed' },
      },
      {
        noun: 'an account',
        make: async () =>
          `/accounts/${(await admin.post('/accounts', { email: 'tagged@example.com' })).body.account_id}`,
        patch: { name: 'Changed' },
      },
      {
        noun: 'a resource',
        make: async () => {
          const identifier = 'https://tagged.example.com';
          await admin.post('/resources', { identifier, scopes: [{ name: 'x', description: 'X' }] });
          return `/resources/${encodeURIComponent(identifier)}`;
        },
        patch: { access_token_ttl_seconds: 60 },
      },
    ];
    for (const { noun, make, patch } of things) {
      it(`change ${noun} only in the version that the caller knows`, async () => {
        const path = await make();
        const known = (await admin.get(path)).headers.get('etag')!;
        const changed = await admin.patch(path, patch, { 'if-match': known });
        assert.equal(changed.status, 200);
        const now = changed.headers.get('etag')!;
        assert.notEqual(now, known);
        assert.equal((await admin.patch(path, patch, { 'if-match': known })).status, 412);
        assert.equal((await admin.delete(path, { 'if-match': known })).status, 412);
        assert.equal(
          (await admin.patch(path, patch, { 'if-match': `W/${now}` })).status,
          412,
          'Weak tags never match.',
        );
        assert.equal((await admin.patch(path, patch, { 'if-match': 'now' })).status, 400);
        assert.equal((await admin.patch(path, patch, { 'if-match': `"77", ${now}` })).status, 200);
        assert.equal((await admin.delete(path, { 'if-match': '*' })).status, 204);
      });

      it(`spare a reader ${noun} that it has already`, async () => {
        const path = await make();
        const { headers } = await admin.get(path);
        const again = await admin.get(path, { 'if-none-match': headers.get('etag')! });
        assert.deepEqual([again.status, again.text], [304, '']);
        await admin.patch(path, patch);
        assert.equal((await admin.get(path, { 'if-none-match': headers.get('etag')! })).status, 200);
        await admin.delete(path);
      });
    }

    it('call a client that has another secret by now another one to its readers, and the same one to its writers', async () => {
      const path = `/clients/${(await admin.post('/clients', {})).body.client_id}`;
      const tag = (await admin.get(path)).headers.get('etag')!;
      await admin.post(`${path}/secrets`);
      assert.equal((await admin.get(path, { 'if-none-match': tag })).body['live_secrets'], 2);
      assert.equal((await admin.patch(path, { client_name: 'x' }, { 'if-match': tag })).status, 200);
    });

    it('let one of two writers through who both read the same version', async () => {
      const path = `/clients/${(await admin.post('/clients', {})).body.client_id}`;
      const tag = (await admin.get(path)).headers.get('etag')!;
      const write = (client_name: string): Promise<Answer> => admin.patch(path, { client_name }, { 'if-match': tag });
      const statuses = (await Promise.all([write('one'), write('two')])).map(({ status }) => status);
      assert.deepEqual(new Set(statuses), new Set([200, 412]));
    });
  });

  it('answer 503 and change nothing when the database breaks off', async () => {
    const operator = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await operator.connect();
    await operator.query('begin; lock table clients in exclusive mode');
    const answer = admin.post('/clients', { client_name: 'Never made' });
    await eventually(async () => {
      const ended = await operator.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
      );
      return ended.rowCount === 1;
    });
    await operator.query('rollback');
    await operator.end();
    const { status, headers, body } = await answer;
    assert.deepEqual(
      [status, headers.get('retry-after'), body['type']],
      [503, '1', 'urn:gatehouse:problem:unavailable'],
    );
    assert.equal(await countNamed('Never made'), 0);
  });
});

/** fetch always says a string's length; this doesn't. */
async function statusOfChunked({ url }: Gatehouse, token: string, body: string): Promise<number> {
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(
    `POST /admin/v1/clients HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n` +
      `Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
  );
  return Number(/^HTTP\/1.1 (\d{3})/.exec(await readAll(socket))?.[1]);
}
