import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { CIBA, JWT_BEARER, TOKEN_EXCHANGE } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { decide, type Asked } from '../support/client/backchannel.ts';
import { certify, fetchWith, type Certified } from '../support/network/certificates.ts';
import { postForm, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import { startWithTls } from '../support/network/tls_listener.ts';
import { ACCESS_TOKEN, makePolicy, type TokenAnswer } from '../support/client/exchanged_tokens.ts';

type Members = Readonly<Record<string, unknown>>;

const orders = 'https://orders.example.com';
const billing = 'https://billing.example.com';

describe('a client whose tokens are bound to its certificate (RFC 8705, 3)', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let authority: Certified;
  let issuer: OutsideIssuer;
  let mtls: string;
  let own: Certified;
  let others: Certified;
  before(async () => {
    ({ gatehouse, authority, mtls } = await startWithTls());
    [own, others] = await Promise.all([certify({ by: authority }), certify({ by: authority })]);
    admin = await Admin.of(gatehouse);
    for (const name of ['orders', 'billing']) await registerResource(gatehouse, name);
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
  });
  after(() => gatehouse.stop());

  const bound = (metadata: Members = {}): Promise<RegisteredClient> =>
    registerClient(gatehouse, {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: 'CN=client',
      tls_client_certificate_bound_access_tokens: true,
      ...metadata,
    });
  const post = async (
    path: string,
    { client_id }: RegisteredClient,
    form: Readonly<Record<string, string>>,
    certificate: Certified | undefined = own,
  ): Promise<TokenAnswer> => {
    const body = new URLSearchParams({ client_id, ...form });
    const response = await fetchWith(certificate, authority)(`${mtls}${path}`, { method: 'POST', body });
    return { status: response.status, body: (await response.json()) as TokenAnswer['body'] };
  };
  const tokenOf = ({ status, body }: TokenAnswer): string => {
    assert.equal(status, 200, JSON.stringify(body));
    return body.access_token;
  };
  const isBound = (answer: TokenAnswer, { thumbprint }: Certified = own): void =>
    assert.deepEqual(decodeJwt(tokenOf(answer))['cnf'], { 'x5t#S256': thumbprint });

  describe('exchanges tokens', () => {
    let client: RegisteredClient;
    before(async () => {
      client = await bound({
        grant_types: [TOKEN_EXCHANGE, 'client_credentials'],
        resources: [{ resource: orders, scopes: ['orders:read'] }],
      });
      await allow(client);
    });
    const allow = ({ client_id }: RegisteredClient): Promise<string> =>
      makePolicy(admin, 'exchange-policies', {
        client_id,
        subject_resource: orders,
        resource: billing,
        scopes: [{ scope: 'billing:read', from: 'orders:read' }],
        mode: 'delegation',
      });
    const exchange = (subject_token: string, certificate?: Certified): Promise<TokenAnswer> =>
      post(
        '/token',
        client,
        { grant_type: TOKEN_EXCHANGE, subject_token, subject_token_type: ACCESS_TOKEN },
        certificate,
      );
    const token = async (who: RegisteredClient, certificate?: Certified): Promise<string> =>
      tokenOf(await post('/token', who, { grant_type: 'client_credentials', resource: orders }, certificate));

    it('for ones that are bound to it, too', async () => {
      isBound(await exchange(await token(client)));
    });

    it('but none that is bound to another certificate: it would be another client’s (MTLS-02)', async () => {
      const other = await bound({ resources: [{ resource: orders, scopes: ['orders:read'] }] });
      const stolen = await token(other, others);
      const { status, body } = await exchange(stolen);
      assert.deepEqual([status, body.error], [400, 'invalid_request'], JSON.stringify(body));
      assert.match(body.error_description ?? '', /bound to a key; prove possession of that key/);
      isBound(await exchange(stolen, others), others);
    });

    it('and none that is bound for a client that brings no certificate', async () => {
      const plain = await registerClient(gatehouse, {
        grant_types: [TOKEN_EXCHANGE],
        token_endpoint_auth_method: 'client_secret_post',
        resources: [],
      });
      await allow(plain);
      const subject_token = await token(client);
      const form = { ...plain, grant_type: TOKEN_EXCHANGE, subject_token, subject_token_type: ACCESS_TOKEN };
      const response = await postForm(`${gatehouse.url}/token`, form);
      assert.deepEqual([response.status, ((await response.json()) as Members)['error']], [400, 'invalid_request']);
    });
  });

  it('gets bound tokens for assertions, and none for one that is another’s by its cnf', async () => {
    const client = await bound({ grant_types: [JWT_BEARER], resources: [] });
    await makePolicy(admin, 'assertion-policies', {
      client_id: client.client_id,
      issuer: issuer.issuer,
      subject_account: 'external',
      resource: orders,
      scopes: ['orders:read'],
    });
    const present = async (claims: Members): Promise<TokenAnswer> =>
      post('/token', client, { grant_type: JWT_BEARER, assertion: await issuer.assert({ claims }) });
    isBound(await present({}));
    isBound(await present({ cnf: { 'x5t#S256': own.thumbprint } }));
    const { status, body } = await present({ cnf: { 'x5t#S256': others.thumbprint } });
    assert.deepEqual([status, body.error], [400, 'invalid_grant']);
  });

  it('polls with the certificate alone (fapi-ciba-id1-ensure-mtls-holder-of-key-required)', async () => {
    const client = await registerClient(gatehouse, {
      grant_types: [CIBA],
      backchannel_token_delivery_mode: 'poll',
      token_endpoint_auth_method: 'client_secret_post',
      tls_client_certificate_bound_access_tokens: true,
    });
    const { resource } = gatehouse.demo;
    const request = { scope: 'openid notes:read', resource, login_hint: gatehouse.account.email };
    const asked = await postForm(`${gatehouse.url}/backchannel_authentication`, { ...client, ...request });
    assert.equal(asked.status, 200);
    const answer = (await asked.json()) as Asked;
    await decide(gatehouse, answer, 'approve');
    const form = { ...client, grant_type: CIBA, auth_req_id: answer.auth_req_id };
    const without = await postForm(`${gatehouse.url}/token`, form);
    assert.deepEqual([without.status, ((await without.json()) as Members)['error']], [400, 'invalid_request']);
    isBound(await post('/token', client, form));
  });
});
