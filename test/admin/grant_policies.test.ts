import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import { JWT_BEARER, TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';

const orders = 'https://orders.example.com';
const billing = 'https://billing.example.com';

describe('a policy of what may be traded for a token, in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let issuer: OutsideIssuer;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    for (const name of ['orders', 'billing']) await registerResource(gatehouse, name);
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
  });
  after(() => gatehouse.stop());

  const client = (): Promise<RegisteredClient> =>
    registerClient(gatehouse, { grant_types: [TOKEN_EXCHANGE, JWT_BEARER], resources: [] });
  const exchangePolicy = async (changed: object = {}): Promise<object> => ({
    client_id: (await client()).client_id,
    subject_resource: orders,
    resource: billing,
    scopes: [{ scope: 'billing:read', from: 'orders:read' }],
    mode: 'delegation',
    ...changed,
  });
  const ofIssuer = (changed: object = {}): Promise<object> =>
    exchangePolicy({
      subject_resource: undefined,
      subject_issuer: issuer.issuer,
      subject_account: 'external',
      scopes: [{ scope: 'billing:read' }],
      ...changed,
    });
  const assertionPolicy = async (changed: object = {}): Promise<object> => ({
    client_id: (await client()).client_id,
    issuer: issuer.issuer,
    subject_account: 'verified_email',
    email_domains: ['partner.example'],
    resource: billing,
    scopes: ['billing:read'],
    ...changed,
  });

  for (const [noun, make, members] of [
    ['exchange-policies', exchangePolicy, ['scopes', 'mode', 'max_ttl_seconds']],
    ['assertion-policies', assertionPolicy, ['scopes', 'subject_account', 'email_domains', 'max_ttl_seconds']],
  ] as const) {
    it(`(${noun}) is made, shown, listed, changed and deleted`, async () => {
      const given = await make();
      const { status, headers, body, text } = await admin.post(`/${noun}`, given);
      assert.equal(status, 201, text);
      assert.equal(body['max_ttl_seconds'], 300);
      const path = `/${noun}/${String(body['policy_id'])}`;
      assert.equal(headers.get('location'), `${gatehouse.issuer}/admin/v1${path}`);
      for (const [member, value] of Object.entries(given)) assert.deepEqual(body[member], value, member);
      assert.deepEqual((await admin.get(path)).body, body);
      const listed = await admin.get(`/${noun}?client_id=${body.client_id}`);
      assert.deepEqual(listed.body.items, [body]);
      const changed = await admin.patch(path, { max_ttl_seconds: 60 }, { 'if-match': headers.get('etag')! });
      assert.deepEqual([changed.status, changed.body['max_ttl_seconds']], [200, 60]);
      for (const member of members.slice(0, -1)) assert.deepEqual(changed.body[member], body[member], member);
      assert.equal((await admin.patch(path, {}, { 'if-match': headers.get('etag')! })).status, 412);
      assert.equal((await admin.delete(path)).status, 204);
      assert.equal((await admin.get(path)).status, 404);
      assert.equal((await admin.patch(path, {})).status, 404);
    });

    it(`(${noun}) is seen and changed with the scopes for it alone`, async () => {
      const reader = await admin.lesser('policies:read');
      assert.equal((await reader.get(`/${noun}`)).status, 200);
      assert.equal((await reader.post(`/${noun}`, await make())).status, 403);
      const other = await admin.lesser('clients:write', 'trust:write');
      assert.equal((await other.get(`/${noun}`)).status, 403);
    });
  }

  it('is one for each client, subject and API', async () => {
    const given = await exchangePolicy();
    assert.equal((await admin.post('/exchange-policies', given)).status, 201);
    assert.equal((await admin.post('/exchange-policies', { ...given, mode: 'impersonation' })).status, 409);
    assert.equal(
      (await admin.post('/exchange-policies', { ...given, resource: orders, scopes: [{ scope: 'orders:read' }] }))
        .status,
      201,
    );
  });

  it('names for each scope the one that it comes from: that of the same name, unless it says another', async () => {
    const scopes = [{ scope: 'orders:read' }];
    const { body } = await admin.post('/exchange-policies', await exchangePolicy({ resource: orders, scopes }));
    assert.deepEqual(body['scopes'], [{ scope: 'orders:read', from: 'orders:read' }]);
  });

  it('is one noun or the other: neither is found under the other’s path', async () => {
    const { body } = await admin.post('/exchange-policies', await exchangePolicy());
    assert.equal((await admin.get(`/assertion-policies/${String(body['policy_id'])}`)).status, 404);
    assert.equal((await admin.delete(`/assertion-policies/${String(body['policy_id'])}`)).status, 404);
  });

  it('changes how outside subjects are found as a whole, or not at all', async () => {
    const { body } = await admin.post('/assertion-policies', await assertionPolicy());
    const path = `/assertion-policies/${String(body['policy_id'])}`;
    assert.equal((await admin.patch(path, { subject_account: 'external' })).status, 400);
    assert.equal((await admin.patch(path, { email_domains: null })).status, 400);
    const changed = await admin.patch(path, { subject_account: 'external', email_domains: null });
    assert.deepEqual([changed.status, changed.body['email_domains']], [200, undefined]);
  });

  it('keeps what it names from being deleted', async () => {
    const { resource, scopes } = await registerResource(gatehouse, 'kept');
    const made = await makeIssuer(gatehouse.issuer);
    await trust(admin, made);
    const given = await ofIssuer({ subject_issuer: made.issuer, resource, scopes: [{ scope: scopes[0] }] });
    const { body } = await admin.post('/exchange-policies', given);
    const issuerPath = `/trusted-issuers/${encodeURIComponent(made.issuer)}`;
    const resourcePath = `/resources/${encodeURIComponent(resource)}`;
    assert.equal((await admin.delete(issuerPath)).status, 409);
    assert.equal((await admin.delete(resourcePath)).status, 409);
    await admin.delete(`/exchange-policies/${String(body['policy_id'])}`);
    assert.equal((await admin.delete(issuerPath)).status, 204);
  });

  it('goes with its client', async () => {
    const given = await exchangePolicy();
    const { body } = await admin.post('/exchange-policies', given);
    assert.equal((await admin.delete(`/clients/${body.client_id}`)).status, 204);
    assert.equal((await admin.get(`/exchange-policies/${String(body['policy_id'])}`)).status, 404);
  });

  it('leaves its changes in the trail', async () => {
    const { body } = await admin.post('/exchange-policies', await exchangePolicy());
    await admin.patch(`/exchange-policies/${String(body['policy_id'])}`, { mode: 'impersonation' });
    await admin.delete(`/exchange-policies/${String(body['policy_id'])}`);
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'client_id', 'details'])
      .where('event', 'like', 'exchange_policy.%')
      .orderBy('occurred_at')
      .orderBy('sequence')
      .execute();
    const its = rows.filter(({ client_id }) => client_id === body.client_id);
    assert.deepEqual(
      its.map(({ event, details }) => [event, details['mode']]),
      [
        ['exchange_policy.created', 'delegation'],
        ['exchange_policy.updated', 'impersonation'],
        ['exchange_policy.deleted', 'impersonation'],
      ],
    );
  });

  const refused: readonly [what: string, noun: string, given: () => Promise<object>, pointers: string[]][] = [
    ['for no client', 'exchange-policies', () => exchangePolicy({ client_id: 'client_none' }), ['/client_id']],
    [
      'for an API that there is not',
      'exchange-policies',
      () => exchangePolicy({ resource: 'https://no.example' }),
      ['/resource'],
    ],
    [
      'for subjects of no API',
      'exchange-policies',
      () => exchangePolicy({ subject_resource: 'https://no.example' }),
      ['/subject_resource'],
    ],
    [
      'for subjects that no account has',
      'exchange-policies',
      () => exchangePolicy({ subject_resource: undefined }),
      ['/subject_issuer'],
    ],
    [
      'for subjects of two kinds',
      'exchange-policies',
      () => exchangePolicy({ subject_issuer: issuer.issuer }),
      ['/subject_issuer'],
    ],
    [
      'for an issuer that is not trusted',
      'exchange-policies',
      () => ofIssuer({ subject_issuer: 'https://no.example' }),
      ['/subject_issuer'],
    ],
    [
      'for an issuer whose subjects no account has',
      'exchange-policies',
      () => ofIssuer({ subject_account: undefined }),
      ['/subject_account'],
    ],
    [
      'with scopes that the API does not have',
      'exchange-policies',
      () => exchangePolicy({ scopes: [{ scope: 'other', from: 'orders:read' }] }),
      ['/scopes'],
    ],
    [
      'from scopes that the subject’s API does not have',
      'exchange-policies',
      () => exchangePolicy({ scopes: [{ scope: 'billing:read' }] }),
      ['/scopes'],
    ],
    [
      'from scopes of an assertion',
      'exchange-policies',
      () => ofIssuer({ scopes: [{ scope: 'billing:read', from: 'x' }] }),
      ['/scopes'],
    ],
    ['without scopes', 'exchange-policies', () => exchangePolicy({ scopes: [] }), ['/scopes']],
    ['without a mode', 'exchange-policies', () => exchangePolicy({ mode: undefined }), ['/mode']],
    ['for ever', 'exchange-policies', () => exchangePolicy({ max_ttl_seconds: 86_401 }), ['/max_ttl_seconds']],
    [
      'with members of outside subjects for our own',
      'exchange-policies',
      () => exchangePolicy({ subjects: ['x'] }),
      ['/subjects'],
    ],
    [
      'that leads to the admin API',
      'exchange-policies',
      () => ofIssuer({ resource: gatehouse.admin.resource }),
      ['/resource'],
    ],
    [
      'that leads from the admin API',
      'exchange-policies',
      () => exchangePolicy({ subject_resource: gatehouse.admin.resource }),
      ['/subject_resource'],
    ],
    [
      'that leads to the admin API',
      'assertion-policies',
      () => assertionPolicy({ resource: gatehouse.admin.resource }),
      ['/resource'],
    ],
    [
      'for an issuer that is not trusted',
      'assertion-policies',
      () => assertionPolicy({ issuer: 'https://no.example' }),
      ['/issuer'],
    ],
    [
      'by addresses of any domain',
      'assertion-policies',
      () => assertionPolicy({ email_domains: undefined }),
      ['/email_domains'],
    ],
    [
      'by addresses of a wildcard',
      'assertion-policies',
      () => assertionPolicy({ email_domains: ['*.example'] }),
      ['/email_domains/0'],
    ],
    ['with a member that is not known', 'assertion-policies', () => assertionPolicy({ mode: 'delegation' }), ['/mode']],
  ];
  for (const [what, noun, given, pointers] of refused) {
    it(`(${noun}) is not made ${what}`, async () => {
      const { status, body } = await admin.post(`/${noun}`, await given());
      assert.equal(status, 400);
      assert.deepEqual(
        body.errors.map(({ pointer }) => pointer),
        pointers,
      );
    });
  }
});
