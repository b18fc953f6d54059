import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Answer, type Body } from '../support/client/admin.ts';
import { startApplication } from '../support/client/application.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';

describe('access to the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    // the tests before have been refused more often than is on record one by one
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32' } });
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const withHeaders = (headers: Record<string, string>, path = '/clients', method = 'GET') =>
    fetch(`${gatehouse.url}/admin/v1${path}`, { method, headers });
  const accessOf = (...scopes: string[]) => [{ resource: gatehouse.admin.resource, scopes }];
  /** The refused call's entry in the trail. */
  const entryOf = async (requestId: string | null): Promise<Body | undefined> => {
    const { body } = await admin.get('/audit-events?event=admin_call.refused&limit=200');
    return body.items.find((item) => item.request_id === requestId);
  };

  it('needs a token, and says how to bring one', async () => {
    const answer = await withHeaders({});
    assert.equal(answer.status, 401);
    const metadata = `resource_metadata="${gatehouse.issuer}/.well-known/oauth-protected-resource/admin/v1"`;
    const realm = `realm="${gatehouse.admin.resource}"`;
    assert.equal(
      answer.headers.get('www-authenticate'),
      `Bearer ${realm}, ${metadata}, DPoP ${realm}, algs="ES256 Ed25519 EdDSA", ${metadata}`,
    );
    assert.equal(answer.headers.get('content-type'), 'application/problem+json');
  });

  it('takes no token from the query, a cookie or Basic credentials', async () => {
    const token = await gatehouse.adminToken();
    const basic = Buffer.from(`${gatehouse.admin.client_id}:${gatehouse.admin.client_secret}`).toString('base64');
    assert.equal((await withHeaders({}, `/clients?access_token=${token}`)).status, 401);
    assert.equal((await withHeaders({ cookie: `access_token=${token}` })).status, 401);
    assert.equal((await withHeaders({ authorization: `Basic ${basic}` })).status, 401);
  });

  it('is refused without a valid token of this server, never with a 5xx', async () => {
    const token = await gatehouse.adminToken();
    const [header, payload, signature] = token.split('.') as [string, string, string];
    const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url');
    const forged = [
      '',
      'x',
      '..',
      `${header}.${payload}.`,
      `${none}.${payload}.`,
      `${header}.${payload}.${signature.toUpperCase()}`,
      'é',
      '%00',
      `${token} ${token}`,
      'a'.repeat(8_000),
    ];
    for (const value of forged) {
      const answer = await withHeaders({ authorization: `Bearer ${value}` });
      assert.equal(answer.status, 401, value);
      if (value) assert.match(answer.headers.get('www-authenticate') ?? '', /error="invalid_token"/, value);
    }
  });

  it('is refused with a token for another API', async () => {
    const token = await requestToken(gatehouse.url, gatehouse.demo);
    assert.equal((await withHeaders({ authorization: `Bearer ${token}` })).status, 401);
  });

  it('is not given to a person without a role, even if the client has the scopes', async () => {
    const application = await startApplication(gatehouse, { resources: accessOf('clients:read') });
    const asked = { resource: gatehouse.admin.resource, scope: 'clients:read' };
    const callback = await new Person(gatehouse).authorize(application.authorizationUrl(asked));
    await application.stop();
    assert.equal(callback.searchParams.get('error'), 'access_denied');
  });

  it('is refused with a token of a client that was revoked since', async () => {
    const lesser = await admin.lesser('clients:read');
    assert.equal((await lesser.get('/clients')).status, 200);
    await admin.post(`/clients/${lesser.clientId}/revoke`, { reason: 'Test' });
    assert.equal((await lesser.get('/clients')).status, 401);
  });

  it('ends for a scope as soon as it is taken from the client, even if the token still has it', async () => {
    const lesser = await admin.lesser('clients:read', 'keys:read');
    await admin.patch(`/clients/${lesser.clientId}`, { resources: accessOf('clients:read') });
    assert.equal((await lesser.get('/clients')).status, 200);
    assert.equal((await lesser.get('/keys')).status, 403);
  });

  it('needs the scope of each call, none of which includes another (ADM-02)', async () => {
    const calls: readonly [method: string, path: string, scope: string][] = [
      ['GET', '/clients', 'clients:read'],
      ['POST', '/clients', 'clients:write'],
      ['GET', '/clients/x', 'clients:read'],
      ['PATCH', '/clients/x', 'clients:write'],
      ['DELETE', '/clients/x', 'clients:write'],
      ['POST', '/clients/x/secrets', 'secrets:rotate'],
      ['GET', '/clients/x/secrets', 'secrets:read'],
      ['DELETE', '/clients/x/secrets/y', 'secrets:rotate'],
      ['POST', '/clients/x/revoke', 'clients:revoke'],
      ['POST', '/clients/x/restore', 'clients:revoke'],
      ['POST', '/clients/x/pin', 'clients:write'],
      ['POST', '/clients/x/unpin', 'clients:write'],
      ['GET', '/resources', 'resources:read'],
      ['POST', '/resources', 'resources:write'],
      ['GET', '/resources/x', 'resources:read'],
      ['PATCH', '/resources/x', 'resources:write'],
      ['DELETE', '/resources/x', 'resources:write'],
      ['GET', '/trusted-issuers', 'trust:read'],
      ['POST', '/trusted-issuers', 'trust:write'],
      ['GET', '/trusted-issuers/x', 'trust:read'],
      ['PATCH', '/trusted-issuers/x', 'trust:write'],
      ['DELETE', '/trusted-issuers/x', 'trust:write'],
      ['GET', '/exchange-policies', 'policies:read'],
      ['POST', '/exchange-policies', 'policies:write'],
      ['GET', '/exchange-policies/x', 'policies:read'],
      ['PATCH', '/exchange-policies/x', 'policies:write'],
      ['DELETE', '/exchange-policies/x', 'policies:write'],
      ['GET', '/assertion-policies', 'policies:read'],
      ['POST', '/assertion-policies', 'policies:write'],
      ['GET', '/assertion-policies/x', 'policies:read'],
      ['PATCH', '/assertion-policies/x', 'policies:write'],
      ['DELETE', '/assertion-policies/x', 'policies:write'],
      ['GET', '/subject-links', 'accounts:read'],
      ['POST', '/subject-links', 'accounts:write'],
      ['DELETE', '/subject-links/x', 'accounts:write'],
      ['POST', '/authorization-details-types', 'policies:write'],
      ['GET', '/authorization-details-types', 'policies:read'],
      ['GET', '/authorization-details-types/x', 'policies:read'],
      ['PATCH', '/authorization-details-types/x', 'policies:write'],
      ['DELETE', '/authorization-details-types/x', 'policies:write'],
      ['GET', '/resources/x/metadata', 'resources:read'],
      ['GET', '/registration-policies', 'policies:read'],
      ['POST', '/registration-policies', 'policies:write'],
      ['GET', '/registration-policies/x', 'policies:read'],
      ['PATCH', '/registration-policies/x', 'policies:write'],
      ['DELETE', '/registration-policies/x', 'policies:write'],
      ['GET', '/initial-access-tokens', 'clients:read'],
      ['POST', '/initial-access-tokens', 'clients:write'],
      ['GET', '/initial-access-tokens/x', 'clients:read'],
      ['DELETE', '/initial-access-tokens/x', 'clients:write'],
      ['GET', '/keys', 'keys:read'],
      ['POST', '/keys/rotate', 'keys:rotate'],
      ['GET', '/accounts', 'accounts:read'],
      ['POST', '/accounts', 'accounts:write'],
      ['GET', '/accounts/x', 'accounts:read'],
      ['PATCH', '/accounts/x', 'accounts:write'],
      ['DELETE', '/accounts/x', 'accounts:write'],
      ['POST', '/accounts/x/disable', 'accounts:write'],
      ['POST', '/accounts/x/enable', 'accounts:write'],
      ['GET', '/accounts/x/sessions', 'sessions:read'],
      ['DELETE', '/accounts/x/sessions', 'sessions:end'],
      ['DELETE', '/accounts/x/sessions/y', 'sessions:end'],
      ['GET', '/accounts/x/grants', 'grants:read'],
      ['DELETE', '/accounts/x/grants/y', 'grants:revoke'],
      ['GET', '/accounts/x/consents', 'grants:read'],
      ['DELETE', '/accounts/x/consents/y', 'grants:revoke'],
      ['GET', '/accounts/x/groups', 'groups:read'],
      ['GET', '/accounts/x/links', 'accounts:read'],
      ['POST', '/accounts/x/links', 'accounts:links'],
      ['DELETE', '/accounts/x/links/y', 'accounts:links'],
      ['GET', '/accounts/x/factors', 'accounts:read'],
      ['DELETE', '/accounts/x/factors', 'accounts:write'],
      ['DELETE', '/accounts/x/factors/y', 'accounts:write'],
      ['POST', '/accounts/x/enrolment-code', 'accounts:write'],
      ['POST', '/accounts/x/unlock', 'accounts:write'],
      ['GET', '/roles', 'roles:read'],
      ['POST', '/roles', 'roles:write'],
      ['GET', '/roles/x', 'roles:read'],
      ['PATCH', '/roles/x', 'roles:write'],
      ['DELETE', '/roles/x', 'roles:write'],
      ['GET', '/groups', 'groups:read'],
      ['POST', '/groups', 'groups:write'],
      ['GET', '/groups/x', 'groups:read'],
      ['PATCH', '/groups/x', 'groups:write'],
      ['DELETE', '/groups/x', 'groups:write'],
      ['GET', '/groups/x/members', 'groups:read'],
      ['POST', '/groups/x/members', 'groups:write'],
      ['DELETE', '/groups/x/members/y', 'groups:write'],
      ['GET', '/audit-events', 'audit:read'],
      ['GET', '/audit-evidence', 'audit:read'],
      ['GET', '/audit-keys', 'audit:read'],
      ['GET', '/clients/x/tokens', 'clients:read'],
    ];
    const document = (await (await withHeaders({}, '/openapi.json')).json()) as { paths: Record<string, object> };
    const documented = Object.values(document.paths).flatMap((path) => Object.keys(path)).length;
    assert.equal(calls.length, documented - 1, 'Every call but the document itself is tried.');
    const all = gatehouse.admin.scope.split(' ');
    for (const [method, path, scope] of calls) {
      const token = await gatehouse.adminToken(all.filter((one) => one !== scope).join(' '));
      const answer = await withHeaders({ authorization: `Bearer ${token}` }, path, method);
      assert.equal(answer.status, 403, `${method} ${path}`);
      const challenge = answer.headers.get('www-authenticate') ?? '';
      assert.equal(challenge.startsWith(`Bearer error="insufficient_scope", scope="${scope}", `), true, challenge);
    }
  });

  it('gives no origin leave to read it from a browser', async () => {
    const answer = await withHeaders({
      origin: 'https://evil.example',
      authorization: `Bearer ${await gatehouse.adminToken()}`,
    });
    const names = [...answer.headers.keys()].filter((name) => name.startsWith('access-control-'));
    assert.deepEqual(names, []);
    const preflight = await withHeaders(
      { origin: 'https://evil.example', 'access-control-request-method': 'GET' },
      '/clients',
      'OPTIONS',
    );
    assert.equal(preflight.status, 405);
    assert.equal(preflight.headers.get('access-control-allow-origin'), null);
  });

  it('is never cached or sniffed, refusals included', async () => {
    for (const answer of [await withHeaders({}), await admin.get('/clients'), await admin.get('/nothing')]) {
      assert.equal(answer.headers.get('cache-control'), 'no-store');
      assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    }
  });

  describe('object by object', () => {
    let lesser: Awaited<ReturnType<Admin['lesser']>>;
    before(async () => {
      lesser = await admin.lesser('clients:read', 'clients:write', 'clients:revoke', 'secrets:read', 'secrets:rotate');
    });

    it('lets no admin give admin scopes that their own token does not carry', async () => {
      assert.equal((await lesser.post('/clients', { resources: accessOf('clients:read') })).status, 201);
      const beyond = await lesser.post('/clients', { resources: accessOf('clients:read', 'keys:rotate') });
      assert.equal(beyond.status, 403);
      assert.match(beyond.body.detail, /keys:rotate/);
      const { body: own } = await lesser.post('/clients', {});
      assert.equal(
        (await lesser.patch(`/clients/${own.client_id}`, { resources: accessOf('audit:read') })).status,
        403,
      );
      assert.deepEqual(
        (await admin.get(`/clients/${own.client_id}`)).body['resources'],
        [],
        'Nothing of a refused patch stays.',
      );
    });

    it('lets no admin give themselves more', async () => {
      const answer = await lesser.patch(`/clients/${lesser.clientId}`, {
        resources: accessOf('clients:write', 'accounts:write'),
      });
      assert.equal(answer.status, 403);
    });

    it('goes by the token’s scopes where the client has more', async () => {
      const narrow = new Admin(gatehouse, await gatehouse.adminToken('clients:write'));
      assert.equal((await narrow.post('/clients', { resources: accessOf('keys:rotate') })).status, 403);
      assert.equal((await narrow.delete(`/clients/${lesser.clientId}`)).status, 403);
    });

    it('lets no admin take over, silence or remove a client with more rights', async () => {
      const target = await admin.lesser('keys:rotate');
      const path = `/clients/${target.clientId}`;
      const { body: secrets } = await lesser.get(`${path}/secrets`);
      const attempts: (() => Promise<Answer>)[] = [
        () => lesser.post(`${path}/secrets`, { client_secret: 'a secret that the attacker knows well' }),
        () => lesser.delete(`${path}/secrets/${secrets.items[0]?.secret_id}`),
        () => lesser.patch(path, { client_name: 'Mine now' }),
        () => lesser.patch(path, { resources: [] }),
        () => lesser.post(`${path}/revoke`, { reason: 'Silence' }),
        () => lesser.delete(path),
      ];
      for (const attempt of attempts) assert.equal((await attempt()).status, 403, attempt.toString());
      await admin.post(`${path}/revoke`, { reason: 'By someone who may' });
      assert.equal((await lesser.post(`${path}/restore`)).status, 403);
    });

    it('keeps a client from revoking or deleting itself', async () => {
      const path = `/clients/${gatehouse.admin.client_id}`;
      assert.equal((await admin.post(`${path}/revoke`, { reason: 'By mistake' })).status, 409);
      assert.equal((await admin.delete(path)).status, 409);
      assert.equal((await admin.get(path)).body['revoked'], false);
    });

    it('keeps the admin API itself as it is', async () => {
      const path = `/resources/${encodeURIComponent(gatehouse.admin.resource)}`;
      const scopes = [{ name: 'clients:read', description: 'All that is left' }];
      assert.equal((await admin.patch(path, { scopes })).status, 403);
      assert.equal((await admin.delete(path)).status, 403);
      assert.equal((await admin.post('/resources', { identifier: gatehouse.admin.resource, scopes })).status, 409);
    });
  });

  describe('when it is refused', () => {
    it('leaves an entry that tells who, from where, what and why (ADM-10)', async () => {
      const lesser = await admin.lesser('clients:read');
      const answer = await lesser.post('/clients/some-client/revoke?because=no', { reason: 'x' });
      assert.equal(answer.status, 403);
      const entry = await entryOf(answer.headers.get('x-request-id'));
      assert.deepEqual(entry?.['actor'], { type: 'client', id: lesser.clientId });
      assert.equal(entry?.['outcome'], 'refused');
      assert.equal(entry?.['address'], '127.0.0.1');
      assert.deepEqual(entry?.['details'], {
        method: 'POST',
        path: '/clients/{client_id}/revoke',
        status: 403,
        reason: 'forbidden',
      });
    });

    const refusals: readonly [
      what: string,
      call: () => Promise<{ status: number; headers: Headers }>,
      details: object,
    ][] = [
      [
        'without a token',
        () => withHeaders({ 'x-forwarded-for': '192.0.2.1' }),
        { method: 'GET', path: '/clients', status: 401, reason: 'unauthorized' },
      ],
      [
        'for what is not there',
        () => admin.get('/clients/none'),
        { method: 'GET', path: '/clients/{client_id}', status: 404, reason: 'not_found' },
      ],
      [
        'at no path of ours',
        () => admin.get('/nothing/here'),
        { method: 'GET', path: null, status: 404, reason: 'not_found' },
      ],
      [
        'with a wrong body',
        () => admin.post('/clients', { zz: 1 }),
        { method: 'POST', path: '/clients', status: 400, reason: 'invalid' },
      ],
      [
        'with a method that the path lacks',
        () => admin.delete('/clients'),
        { method: 'DELETE', path: '/clients', status: 405, reason: 'method_not_allowed' },
      ],
      [
        'for its conflict',
        () => admin.post(`/clients/${gatehouse.demo.client_id}/restore`),
        { method: 'POST', path: '/clients/{client_id}/restore', status: 409, reason: 'conflict' },
      ],
      [
        'for an outdated version',
        () => admin.patch(`/clients/${gatehouse.demo.client_id}`, {}, { 'if-match': '"99"' }),
        { method: 'PATCH', path: '/clients/{client_id}', status: 412, reason: 'precondition_failed' },
      ],
    ];
    for (const [what, call, details] of refusals) {
      it(`leaves an entry ${what}`, async () => {
        const answer = await call();
        const entry = await entryOf(answer.headers.get('x-request-id'));
        assert.deepEqual(entry?.['details'], details);
      });
    }

    it('tells neither the trail nor the caller anything hostile back', async () => {
      const hostile = '<script>alert(1)</script>';
      const answer = await admin.get(`/clients/${encodeURIComponent(hostile)}/nothing?q=${hostile}`);
      assert.ok(!answer.text.includes('<script>'));
      const { text } = await admin.post('/clients', { client_name: { evil: hostile }, application_type: hostile });
      assert.ok(!text.includes('<script>'), text);
      assert.ok(!(await admin.get('/audit-events?limit=200')).text.includes('<script>'));
    });
  });
});
