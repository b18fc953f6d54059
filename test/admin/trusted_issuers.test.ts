import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('a trusted issuer in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let jwk: JWK;
  let privateJwk: JWK;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    jwk = { ...(await exportJWK(publicKey)), kid: 'key-1' };
    privateJwk = await exportJWK(privateKey);
  });
  after(() => gatehouse.stop());

  const described = (changed: object = {}): object => ({
    issuer: `https://${crypto.randomUUID()}.example`,
    display_name: 'Partner',
    jwks: { keys: [jwk] },
    algs: ['ES256'],
    purposes: ['jwt_bearer'],
    ...changed,
  });
  const pathOf = (issuer: unknown): string => `/trusted-issuers/${encodeURIComponent(String(issuer))}`;
  const trusted = async (changed: object = {}) => {
    const { status, text, body } = await admin.post('/trusted-issuers', described(changed));
    assert.equal(status, 201, text);
    return body;
  };

  it('is made, shown, listed, changed and deleted', async () => {
    const created = await admin.post('/trusted-issuers', described({ issuer: 'https://id.example/a b?c' }));
    assert.equal(created.status, 400, 'A URI has no space.');
    const issuer = 'https://id.partner.example/tenants/7?x=1';
    const { status, headers, body } = await admin.post('/trusted-issuers', described({ issuer }));
    assert.equal(status, 201);
    assert.equal(headers.get('location'), `${gatehouse.issuer}/admin/v1${pathOf(issuer)}`);
    assert.deepEqual((await admin.get(pathOf(issuer))).body, body);
    const { items } = (await admin.get('/trusted-issuers')).body;
    assert.ok(items.some((item) => item['issuer'] === issuer));
    const changed = await admin.patch(pathOf(issuer), { display_name: 'Another name' });
    assert.deepEqual([changed.status, changed.body['display_name']], [200, 'Another name']);
    assert.deepEqual([changed.body['algs'], changed.body['purposes']], [['ES256'], ['jwt_bearer']]);
    assert.equal((await admin.delete(pathOf(issuer))).status, 204);
    assert.equal((await admin.get(pathOf(issuer))).status, 404);
    assert.equal((await admin.patch(pathOf(issuer), {})).status, 404);
  });

  it('is named once', async () => {
    const { issuer } = await trusted();
    assert.equal((await admin.post('/trusted-issuers', described({ issuer }))).status, 409);
  });

  it('may have a name that is no URI', async () => {
    assert.equal((await trusted({ issuer: 'Open Banking Ltd' }))['issuer'], 'Open Banking Ltd');
  });

  it('changes from registered keys to published ones in one step, and never has both or neither', async () => {
    const { issuer } = await trusted();
    const jwks_uri = 'https://id.partner.example/jwks';
    assert.equal((await admin.patch(pathOf(issuer), { jwks_uri })).status, 400);
    assert.equal((await admin.patch(pathOf(issuer), { jwks: null })).status, 400);
    const { status, body } = await admin.patch(pathOf(issuer), { jwks: null, jwks_uri });
    assert.deepEqual([status, body['jwks_uri'], body['jwks']], [200, jwks_uri, undefined]);
  });

  it('is disabled and enabled by a patch, and only by true and false', async () => {
    const { issuer } = await trusted();
    const disabled = await admin.patch(pathOf(issuer), { disabled: true });
    assert.equal(disabled.body['disabled'], true);
    assert.notEqual(disabled.body['disabled_at'], null);
    // anything else that changes leaves it disabled
    assert.equal((await admin.patch(pathOf(issuer), { display_name: 'Still' })).body['disabled'], true);
    assert.equal((await admin.patch(pathOf(issuer), { disabled: null })).status, 400);
    const enabled = await admin.patch(pathOf(issuer), { disabled: false });
    assert.deepEqual([enabled.body['disabled'], enabled.body['disabled_at']], [false, null]);
  });

  it('is not changed by an admin who has not seen the last change', async () => {
    const { issuer } = await trusted();
    const seen = (await admin.get(pathOf(issuer))).headers.get('etag')!;
    assert.equal((await admin.patch(pathOf(issuer), { disabled: true }, { 'if-match': seen })).status, 200);
    const late = await admin.patch(pathOf(issuer), { disabled: false }, { 'if-match': seen });
    assert.equal(late.status, 412);
    assert.equal((await admin.delete(pathOf(issuer), { 'if-match': seen })).status, 412);
  });

  it('leaves its changes in the trail', async () => {
    const { issuer } = await trusted();
    await admin.patch(pathOf(issuer), { purposes: ['token_exchange'] });
    await admin.patch(pathOf(issuer), { disabled: true });
    await admin.patch(pathOf(issuer), { disabled: false });
    await admin.delete(pathOf(issuer));
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('event', 'like', 'trusted_issuer.%')
      .orderBy('occurred_at')
      .orderBy('sequence')
      .execute();
    const its = rows.filter(({ details }) => (details as { issuer?: string }).issuer === issuer);
    assert.deepEqual(
      its.map(({ event }) => event.slice('trusted_issuer.'.length)),
      ['created', 'updated', 'disabled', 'enabled', 'deleted'],
    );
    assert.deepEqual((its[1]!.details as { purposes?: string[] }).purposes, ['token_exchange']);
  });

  const refused: readonly [what: string, changed: () => object, pointer: string][] = [
    ['with symmetric algorithms', () => ({ algs: ['HS256'] }), '/algs/0'],
    ['with no signature at all', () => ({ algs: ['none'] }), '/algs/0'],
    ['without an algorithm', () => ({ algs: [] }), '/algs'],
    ['for a purpose that there is not', () => ({ purposes: ['everything'] }), '/purposes/0'],
    ['for nothing', () => ({ purposes: [] }), '/purposes'],
    ['without keys', () => ({ jwks: undefined }), '/jwks_uri'],
    ['with an empty key set', () => ({ jwks: { keys: [] } }), '/jwks/keys'],
    ['with a private key', () => ({ jwks: { keys: [privateJwk] } }), '/jwks/keys/0'],
    ['with a shared secret', () => ({ jwks: { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] } }), '/jwks/keys/0/kty'],
    ['with keys in the clear', () => ({ jwks: undefined, jwks_uri: 'http://id.example/jwks' }), '/jwks_uri'],
    ['that is this server itself', () => ({ issuer: gatehouse.issuer }), '/issuer'],
    ['with an invisible character in its name', () => ({ issuer: 'https://a.example\u200b' }), '/issuer'],
    ['with a member that is not known', () => ({ trusted: true }), '/trusted'],
  ];
  for (const [what, changed, pointer] of refused) {
    it(`is not made ${what}`, async () => {
      const { status, body } = await admin.post('/trusted-issuers', described(changed()));
      assert.equal(status, 400);
      assert.deepEqual(
        body.errors.map((error) => error.pointer),
        [pointer],
      );
    });
  }

  it('is seen and changed with the scopes for it alone', async () => {
    const { issuer } = await trusted();
    const reader = await admin.lesser('trust:read');
    assert.equal((await reader.get(pathOf(issuer))).status, 200);
    assert.equal((await reader.patch(pathOf(issuer), { disabled: true })).status, 403);
    const other = await admin.lesser('clients:write', 'clients:read');
    assert.equal((await other.get('/trusted-issuers')).status, 403);
    assert.equal((await other.post('/trusted-issuers', described())).status, 403);
  });
});
