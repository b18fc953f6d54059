import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const CALLBACK = 'https://app.example.com/callback';

describe('clients in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const tokenStatus = async (client: { client_id: string; client_secret: string }): Promise<number> =>
    (await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, client)).status;
  const demoAccess = () => [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }];

  it('are registered with a secret that works', async () => {
    const { status, body, headers } = await admin.post('/clients', { client_name: 'Reports', resources: demoAccess() });
    assert.equal(status, 201);
    assert.equal(headers.get('location'), `${gatehouse.issuer}/admin/v1/clients/${body.client_id}`);
    assert.deepEqual(body['grant_types'], ['client_credentials']);
    assert.equal(body['client_secret_expires_at'], 0);
    assert.equal(body['live_secrets'], 1);
    assert.equal(await tokenStatus(body), 200);
  });

  it('show their secret once: not when read, listed, changed or audited (ADM-04)', async () => {
    const { body: client } = await admin.post('/clients', { client_name: 'Shown once' });
    const path = `/clients/${client.client_id}`;
    const answers = [
      await admin.get(path),
      await admin.get('/clients?limit=200'),
      await admin.get(`${path}/secrets`),
      await admin.patch(path, { client_name: 'Shown no more' }),
      await admin.get('/audit-events?limit=200'),
      await admin.get('/audit-events', { accept: 'application/x-ndjson' }),
      await admin.delete(path),
    ];
    for (const { status, text } of answers) {
      assert.ok(status < 300, text);
      assert.ok(!text.includes(client.client_secret), 'The secret came back.');
      assert.ok(!/digest|argon2id|pepper/.test(text), text);
    }
    assert.ok(!gatehouse.log.join('').includes(client.client_secret), 'The secret is in the log.');
  });

  it('have ids that can’t be guessed from one another (ADM-06)', async () => {
    const made = await Promise.all(
      Array.from({ length: 10 }, () => admin.post('/clients', { client_name: 'One of ten' })),
    );
    const ids = made.map(({ body }) => body.client_id);
    for (const id of ids) assert.match(id, /^client_[0-9A-Za-z]{22}$/);
    // of 128 random bits even the first 24 or so differ; a counter or a clock would show here
    assert.equal(new Set(ids.map((id) => id.slice(0, 'client_'.length + 5))).size, ids.length);
  });

  it('may bring a secret that an operator chose, which is never shown', async () => {
    const client_secret = 'chosen by an operator, long enough';
    const { status, body, text } = await admin.post('/clients', { client_secret, resources: demoAccess() });
    assert.equal(status, 201);
    assert.ok(!text.includes(client_secret));
    assert.equal(await tokenStatus({ client_id: body.client_id, client_secret }), 200);
    assert.equal(await tokenStatus({ client_id: body.client_id, client_secret: `${client_secret}!` }), 401);
  });

  it('may have a first secret that ends by itself', async () => {
    const { body } = await admin.post('/clients', { client_secret_expires_in_seconds: 3_600 });
    assert.equal(body['client_secret_expires_at'], Number(body['client_id_issued_at']) + 3_600);
  });

  it('without a secret get none, and can’t be given one', async () => {
    const publicClient = { redirect_uris: [CALLBACK], token_endpoint_auth_method: 'none' };
    const { body } = await admin.post('/clients', publicClient);
    assert.equal('client_secret' in body, false);
    assert.equal((await admin.post(`/clients/${body.client_id}/secrets`, {})).status, 409);
    const brought = await admin.post('/clients', { ...publicClient, client_secret: 'x'.repeat(32) });
    assert.equal(brought.status, 400);
    assert.equal(brought.body.errors[0]?.pointer, '/client_secret');
  });

  const refused: readonly { it: string; body: object; pointer: string; detail: RegExp }[] = [
    { it: 'an unknown member', body: { client_nmae: 'x' }, pointer: '/client_nmae', detail: /not known/ },
    {
      it: 'an unknown member deep inside',
      body: { resources: [{ resource: 'https://api.example.com', scopes: ['notes:read'], role: 'admin' }] },
      pointer: '/resources/0/role',
      detail: /not known/,
    },
    { it: 'a number for a name', body: { client_name: 7 }, pointer: '/client_name', detail: /must be a string/ },
    { it: 'null for a name', body: { client_name: null }, pointer: '/client_name', detail: /must be a string/ },
    {
      it: 'one URI in place of a list',
      body: { redirect_uris: CALLBACK },
      pointer: '/redirect_uris',
      detail: /an array/,
    },
    {
      it: 'a fraction of a day',
      body: { secret_rotation_days: 1.5 },
      pointer: '/secret_rotation_days',
      detail: /whole/,
    },
    {
      it: 'a grant type of OAuth 2.0',
      body: { grant_types: ['password'] },
      pointer: '/grant_types/0',
      detail: /must be one of/,
    },
    {
      it: 'the implicit response type',
      body: { response_types: ['token'] },
      pointer: '/response_types/0',
      detail: /must be code/,
    },
    {
      it: 'a wildcard scope',
      body: { resources: [{ resource: 'https://api.example.com', scopes: ['*'] }] },
      pointer: '/resources/0/scopes',
      detail: /wildcard/,
    },
    {
      it: 'a scope that its resource does not have',
      body: { resources: [{ resource: 'https://api.example.com', scopes: ['notes:delete'] }] },
      pointer: '/resources/0/scopes',
      detail: /does not have/,
    },
    {
      it: 'a resource that is not registered',
      body: { resources: [{ resource: 'https://nowhere.example.com', scopes: ['x'] }] },
      pointer: '/resources/0/resource',
      detail: /not registered/,
    },
    {
      it: 'a private key among public ones',
      body: {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'secret' }] },
      },
      pointer: '/jwks/keys/0',
      detail: /private key/,
    },
    // each of these would be registered and work nowhere
    {
      it: 'a key that is not whole',
      body: { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'EC', crv: 'P-256' }] } },
      pointer: '/jwks/keys/0',
      detail: /complete public key/,
    },
    {
      it: 'an RSA key that is too short',
      body: {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [{ kty: 'RSA', e: 'AQAB', n: Buffer.alloc(128, 0xff).toString('base64url') }] },
      },
      pointer: '/jwks/keys/0',
      detail: /2048 to 4096 bits/,
    },
    {
      it: 'an algorithm for assertions where there are none',
      body: { token_endpoint_auth_signing_alg: 'ES256' },
      pointer: '/token_endpoint_auth_signing_alg',
      detail: /private_key_jwt/,
    },
    {
      it: 'a list of scopes with a tab',
      body: { redirect_uris: [CALLBACK], scope: 'openid\temail' },
      pointer: '/scope',
      detail: /must contain only scopes/,
    },
    {
      it: 'a secret that is too short',
      body: { client_secret: 'x'.repeat(31) },
      pointer: '/client_secret',
      detail: /at least 32/,
    },
    {
      it: 'invisible characters in a name',
      body: { client_name: 'Pay\u202Elap' },
      pointer: '/client_name',
      detail: /invisible/,
    },
  ];
  for (const { it: what, body, pointer, detail } of refused) {
    it(`refuse ${what}`, async () => {
      const answer = await admin.post('/clients', body);
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.headers.get('content-type'), 'application/problem+json');
      assert.equal(answer.body.errors[0]?.pointer, pointer);
      assert.match(answer.body.errors[0]?.detail ?? '', detail);
    });
  }

  const redirects: readonly [uri: string, reason: RegExp][] = [
    [`${CALLBACK}#fragment`, /fragment/],
    ['https://*.example.com/callback', /wildcard/],
    ['http://app.example.com/callback', /https/],
    ['https://user@app.example.com/callback', /user name/],
    ['https://app.example.com/a/../callback', /normal form/],
    ['https://app.example.com/%2e%2e/callback', /normal form/],
    ['https://APP.example.com/callback', /normal form/],
    ['https://app.example.com:443/callback', /normal form/],
    ['http://2130706433/callback', /normal form/],
    ['http://localhost:80@evil.example/callback', /user name/],
    ['https://app.example.com\\@evil.example/', /backslash/],
    ['javascript:alert(1)', /scheme/],
    ['/callback', /absolute/],
    ['com.example.app:/callback', /native/],
    ['https://app.example.com/a b', /visible/],
  ];
  for (const [uri, reason] of redirects) {
    const flaw = uri.includes('*') ? ' (CVE-2026-3872)' : '';
    it(`refuse the redirect URI ${uri}, at registration and later${flaw}`, async () => {
      const registered = await admin.post('/clients', { redirect_uris: [CALLBACK, uri] });
      assert.equal(registered.status, 400);
      assert.equal(registered.body.errors[0]?.pointer, '/redirect_uris/1');
      assert.match(registered.body.errors[0]?.detail ?? '', reason);
      const { body } = await admin.post('/clients', { redirect_uris: [CALLBACK] });
      const changed = await admin.patch(`/clients/${body.client_id}`, { redirect_uris: [uri] });
      assert.equal(changed.status, 400);
      assert.match(changed.body.errors[0]?.detail ?? '', reason);
    });
  }

  it('that do not authenticate never get client_credentials, on any way of changing them', async () => {
    const both = { token_endpoint_auth_method: 'none', grant_types: ['client_credentials'] };
    assert.equal((await admin.post('/clients', both)).status, 400);
    assert.equal((await admin.post('/clients', { token_endpoint_auth_method: 'none' })).status, 400, 'by default');

    const { body: machine } = await admin.post('/clients', {});
    const { body: person } = await admin.post('/clients', {
      redirect_uris: [CALLBACK],
      token_endpoint_auth_method: 'none',
    });
    const ways: readonly [id: string, patch: object][] = [
      [machine.client_id, { token_endpoint_auth_method: 'none' }],
      [machine.client_id, both],
      [person.client_id, { grant_types: ['client_credentials'] }],
      [person.client_id, { grant_types: ['authorization_code', 'client_credentials'] }],
      [person.client_id, { grant_types: null, redirect_uris: null }],
    ];
    for (const [id, patch] of ways) {
      const answer = await admin.patch(`/clients/${id}`, patch);
      assert.equal(answer.status, 400, JSON.stringify(patch));
    }
    assert.deepEqual((await admin.get(`/clients/${person.client_id}`)).body['grant_types'], ['authorization_code']);
  });

  it('can’t be given what only the server decides (mass assignment, CVE-2026-41427)', async () => {
    const { body: client } = await admin.post('/clients', {});
    const decided = [
      'client_id',
      'token_generation',
      'revoked_at',
      'revoked',
      'version',
      'created_at',
      'live_secrets',
      'secrets',
    ];
    for (const member of decided) {
      for (const answer of [
        await admin.post('/clients', { [member]: 1 }),
        await admin.patch(`/clients/${client.client_id}`, { [member]: 1 }),
      ]) {
        assert.equal(answer.status, 400, member);
        assert.deepEqual(answer.body.errors, [{ pointer: `/${member}`, detail: 'is not known' }]);
      }
    }
    const secret = await admin.patch(`/clients/${client.client_id}`, { client_secret: 'x'.repeat(40) });
    assert.equal(secret.status, 400);
  });

  it('keep what a patch does not name (CVE-2026-107623)', async () => {
    const { body: registered } = await admin.post('/clients', {
      client_name: 'Before',
      redirect_uris: [CALLBACK],
      grant_types: ['authorization_code', 'refresh_token'],
      contacts: ['ops@example.com'],
      resources: demoAccess(),
      secret_rotation_days: 30,
    });
    const { status, body } = await admin.patch(`/clients/${registered.client_id}`, {
      client_name: 'After',
      contacts: null,
    });
    assert.equal(status, 200);
    const kept = [
      'redirect_uris',
      'grant_types',
      'resources',
      'secret_rotation_days',
      'token_endpoint_auth_method',
      'live_secrets',
    ];
    for (const member of kept) assert.deepEqual(body[member], registered[member], member);
    assert.equal(body['client_name'], 'After');
    assert.equal('contacts' in body, false);
  });

  it('are gone after DELETE, with their tokens', async () => {
    const { body } = await admin.post('/clients', { resources: demoAccess() });
    assert.equal((await admin.delete(`/clients/${body.client_id}`)).status, 204);
    assert.equal((await admin.get(`/clients/${body.client_id}`)).status, 404);
    assert.equal(await tokenStatus(body), 401);
  });

  it('are shown as overdue when their newest secret is too old, and listed by it', async () => {
    const { body: late } = await admin.post('/clients', { client_name: 'Late', secret_rotation_days: 7 });
    const { body: early } = await admin.post('/clients', { client_name: 'Early', secret_rotation_days: 7 });
    await gatehouse.database
      .updateTable('client_secrets')
      .set({ created_at: new Date(Date.now() - 8 * 86_400_000) })
      .where('client_id', '=', late.client_id)
      .execute();
    const overdue = await admin.get('/clients?overdue=true&limit=200');
    assert.deepEqual(
      overdue.body.items.map((item) => item.client_id),
      [late.client_id],
    );
    assert.equal(overdue.body.items[0]?.['secret_rotation_overdue'], true);
    const others = (await admin.get('/clients?overdue=false&limit=200')).body.items.map((item) => item.client_id);
    assert.equal(others.includes(early.client_id), true);
    assert.equal(others.includes(late.client_id), false);

    await admin.post(`/clients/${late.client_id}/secrets`, {});
    assert.deepEqual((await admin.get('/clients?overdue=true')).body.items, []);
  });
});
