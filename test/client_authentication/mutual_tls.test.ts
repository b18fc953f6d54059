import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import {
  certify,
  CLIENT_AUTH,
  fetchWith,
  SERVER_AUTH,
  type CertificateParts,
  type Certified,
} from '../support/network/certificates.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { REDIRECT_URI, registerPublicApplication, requestCode } from '../support/client/code_flow.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startWithTls } from '../support/network/tls_listener.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';

type Members = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  readonly body: Members;
}

describe('mutual TLS on the own listener (RFC 8705)', () => {
  let gatehouse: Gatehouse;
  let authority: Certified;
  let stranger: Certified;
  let mtls: string;
  before(async () => {
    stranger = await certify({ subject: 'CN=Clients of the bank', authority: true });
    // we are a trusted proxy here: what a client sends past it by TLS must not be taken for the proxy's word
    ({ gatehouse, authority, mtls } = await startWithTls({
      GATEHOUSE_CLIENT_CERTIFICATE_HEADER: 'Client-Cert',
      GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
    }));
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const issue = (parts: CertificateParts = {}): Promise<Certified> => certify({ by: authority, ...parts });
  const post = async (
    path: string,
    form: Readonly<Record<string, string>>,
    certificate?: Certified,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> => {
    const send = fetchWith(certificate, authority);
    const response = await send(`${mtls}${path}`, { method: 'POST', body: new URLSearchParams(form), headers });
    const text = await response.text();
    return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Members) };
  };
  const ask = ({ client_id }: RegisteredClient, certificate?: Certified, headers = {}): Promise<Answer> =>
    post('/token', { grant_type: 'client_credentials', client_id }, certificate, headers);
  const accepts = async (client: RegisteredClient, certificate: Certified): Promise<void> => {
    const { status, body } = await ask(client, certificate);
    assert.equal(status, 200, JSON.stringify(body));
  };
  const refuses = async (client: RegisteredClient, certificate?: Certified): Promise<void> => {
    const { status, body } = await ask(client, certificate);
    assert.deepEqual([status, body['error'], body['access_token']], [401, 'invalid_client', undefined]);
  };
  const named = (members: Members): Promise<RegisteredClient> =>
    registerClient(gatehouse, { token_endpoint_auth_method: 'tls_client_auth', ...members });

  describe('a client with tls_client_auth', () => {
    const SUBJECT = 'C=DE,O=Example Bank\\, AG,CN=payments';
    for (const [what, members, parts, others] of [
      [
        'subject',
        { tls_client_auth_subject_dn: 'CN=payments, O=Example Bank\\2C AG, C=DE' },
        { subject: SUBJECT },
        [
          { subject: 'CN=payments,O=Example Bank\\, AG,C=DE' },
          { subject: 'C=DE,O=Example Bank,CN=AG\\,payments' },
          { subject: 'C=DE,O=Example Bank\\, AG,CN=Payments' },
          { subject: `${SUBJECT},OU=x` },
          { subject: 'CN=x', names: [{ type: 'dn', value: SUBJECT }] },
        ],
      ],
      [
        'DNS name',
        { tls_client_auth_san_dns: 'Payments.bank.example' },
        {
          names: [
            { type: 'dns', value: 'other.example' },
            { type: 'dns', value: 'payments.bank.example' },
          ],
        },
        [
          { names: [{ type: 'dns', value: '*.bank.example' }] },
          { names: [{ type: 'dns', value: 'payments.bank.example.evil.example' }] },
          { names: [{ type: 'url', value: 'payments.bank.example' }] },
          { subject: 'CN=payments.bank.example' },
        ],
      ],
      [
        'URI',
        { tls_client_auth_san_uri: 'spiffe://bank.example/payments' },
        {
          names: [
            { type: 'dns', value: 'a.example' },
            { type: 'url', value: 'spiffe://bank.example/payments' },
          ],
        },
        [
          { names: [{ type: 'url', value: 'spiffe://bank.example/payments/x' }] },
          { names: [{ type: 'dns', value: 'a, URI:spiffe://bank.example/payments' }] },
          { names: [{ type: 'url', value: 'a:b, URI:spiffe://bank.example/payments' }] },
          { names: [{ type: 'dns', value: 'spiffe://bank.example/payments' }] },
        ],
      ],
      [
        'IP address',
        { tls_client_auth_san_ip: '2001:DB8:0:0::7' },
        { names: [{ type: 'ip', value: '2001:db8::7' }] },
        [{ names: [{ type: 'ip', value: '2001:db8::8' }] }, { names: [{ type: 'dns', value: '2001:db8::7' }] }],
      ],
      [
        'e-mail address',
        { tls_client_auth_san_email: 'payments@bank.example' },
        { names: [{ type: 'email', value: 'payments@bank.example' }] },
        [{ names: [{ type: 'email', value: 'payments@evil.example' }] }, { subject: 'E=payments@bank.example' }],
      ],
    ] as readonly (readonly [string, Members, CertificateParts, readonly CertificateParts[]])[]) {
      it(`is known by the ${what} in its certificate, and by nothing like it`, async () => {
        const client = await named(members);
        await accepts(client, await issue(parts));
        for (const other of others) await refuses(client, await issue(other));
      });
    }

    it('is refused without a certificate, and with one that no trusted authority has issued', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      await accepts(client, await issue());
      await refuses(client);
      await refuses(client, await certify({ by: stranger }));
      await refuses(client, await certify());
    });

    it('is refused with a certificate that is over, not valid yet, or for servers', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      const day = 86_400_000;
      await refuses(client, await issue({ notAfter: new Date(Date.now() - day / 2) }));
      await refuses(client, await issue({ notBefore: new Date(Date.now() + day / 2) }));
      await refuses(client, await issue({ usages: [SERVER_AUTH] }));
      await accepts(client, await issue({ usages: [CLIENT_AUTH] }));
    });

    it('is refused with a certificate that runs out while the connection lives', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      const certificate = await issue();
      await accepts(client, certificate);
      moveClock(2 * 86_400);
      await refuses(client, certificate);
    });

    it('is refused with the certificate of another client, with any client_id', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      await named({ tls_client_auth_subject_dn: 'CN=other' });
      await refuses(client, await issue({ subject: 'CN=other' }));
    });

    it('is not taken for one with a secret: the certificate alone counts', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      const { status } = await post(
        '/token',
        { grant_type: 'client_credentials', client_id: client.client_id, client_secret: 'x' },
        await issue(),
      );
      assert.equal(status, 401);
    });

    it('is not believed when it sends its certificate in a header (MTLS-04)', async () => {
      const client = await named({ tls_client_auth_subject_dn: 'CN=client' });
      const { cert, certificate } = await issue();
      const other = await issue({ subject: 'CN=other' });
      const headers = {
        'client-cert': `:${certificate.raw.toString('base64')}:`,
        'client-certificate': encodeURIComponent(cert),
        'x-ssl-cert': encodeURIComponent(cert),
        'x-forwarded-client-cert': `Cert="${encodeURIComponent(cert)}"`,
      };
      for (const brought of [undefined, other]) {
        const { status, body } = await ask(client, brought, headers);
        assert.deepEqual([status, body['error']], [401, 'invalid_client']);
      }
    });
  });

  describe('a client with self_signed_tls_client_auth', () => {
    it('is known by the certificate that it registered, and by no other of the same key', async () => {
      const mine = await certify();
      const client = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks: { keys: [(await certify()).jwk, mine.jwk] },
      });
      await accepts(client, mine);
      await refuses(client);
      await refuses(client, await certify());
      await refuses(client, await issue());
      await refuses(client, await certify({ keys: mine.keys }));
    });

    it('is not believed when it sends that in the header of the proxies, which we listen to elsewhere (MTLS-04)', async () => {
      const mine = await certify();
      const client = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks: { keys: [mine.jwk] },
      });
      const headers = { 'client-cert': `:${mine.jwk.x5c[0]}:` };
      for (const brought of [undefined, await certify()]) {
        assert.equal((await ask(client, brought, headers)).status, 401);
      }
    });
  });

  describe('a token that is bound to a certificate', () => {
    it('says so in the JWT and at introspection, as openid-client reads it', async () => {
      const certificate = await issue();
      const client = await named({
        tls_client_auth_subject_dn: 'CN=client',
        tls_client_certificate_bound_access_tokens: true,
      });
      const execute = [openid.allowInsecureRequests];
      const options = { execute, [openid.customFetch]: fetchEither(certificate) };
      const metadata = { use_mtls_endpoint_aliases: true };
      const config = await openid.discovery(
        new URL(gatehouse.issuer),
        client.client_id,
        metadata,
        openid.TlsClientAuth(),
        options,
      );
      const { access_token } = await openid.clientCredentialsGrant(config);
      assert.deepEqual(decodeJwt(access_token)['cnf'], { 'x5t#S256': certificate.thumbprint });
      const told = await openid.tokenIntrospection(config, access_token);
      assert.deepEqual(told.cnf, { 'x5t#S256': certificate.thumbprint });
      assert.equal(told.token_type, 'Bearer');
    });

    it('is not given without one', async () => {
      const client = await registerClient(gatehouse, { tls_client_certificate_bound_access_tokens: true });
      const authorization = `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`;
      const without = await post('/token', { grant_type: 'client_credentials' }, undefined, { authorization });
      assert.deepEqual([without.status, without.body['error']], [400, 'invalid_request']);
      // a self-signed one is one: what counts is that the client holds its key
      const certificate = await certify();
      const bound = await post('/token', { grant_type: 'client_credentials' }, certificate, { authorization });
      const { cnf } = decodeJwt(String(bound.body['access_token']));
      assert.deepEqual(cnf, { 'x5t#S256': certificate.thumbprint });
    });

    it('is worth nothing at userinfo with another certificate, or none (MTLS-02)', async () => {
      const { tokens, certificate } = await logIn();
      const userinfo = async (brought?: Certified): Promise<number> => {
        const headers = { authorization: `Bearer ${String(tokens['access_token'])}` };
        return (await fetchWith(brought, authority)(`${mtls}/userinfo`, { headers })).status;
      };
      assert.equal(await userinfo(certificate), 200);
      assert.equal(await userinfo(await certify()), 401);
      assert.equal(await userinfo(), 401);
    });

    it('of a public client is renewed with the same certificate alone', async () => {
      const { tokens, certificate, spa } = await logIn();
      const renew = (brought?: Certified): Promise<Answer> =>
        post(
          '/token',
          { grant_type: 'refresh_token', client_id: spa.client_id, refresh_token: String(tokens['refresh_token']) },
          brought,
        );
      const other = await renew(await certify());
      assert.deepEqual([other.status, other.body['error']], [400, 'invalid_grant']);
      assert.equal((await renew()).status, 400);
      const renewed = await renew(certificate);
      assert.equal(renewed.status, 200, JSON.stringify(renewed.body));
    });

    it('opens nothing at the admin API, which takes plain bearer tokens only', async () => {
      const { resource } = gatehouse.admin;
      const client = await named({
        tls_client_auth_subject_dn: 'CN=client',
        tls_client_certificate_bound_access_tokens: true,
        resources: [{ resource, scopes: ['clients:read'] }],
      });
      const { body } = await ask(client, await issue());
      const headers = { authorization: `Bearer ${String(body['access_token'])}` };
      assert.equal((await fetch(`${gatehouse.url}/admin/v1/clients`, { headers })).status, 401);
    });

    it('is not bound to a key as well: a DPoP proof beside the certificate is refused', async () => {
      const client = await registerClient(gatehouse, { tls_client_certificate_bound_access_tokens: true });
      const authorization = `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`;
      const dpop = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/token`]);
      const headers = { authorization, dpop };
      const { status, body } = await post('/token', { grant_type: 'client_credentials' }, await certify(), headers);
      assert.deepEqual([status, body['error']], [400, 'invalid_request']);
    });
  });

  it('takes a DPoP proof for either address of an endpoint, and for no other', async () => {
    const client = await named({ tls_client_auth_subject_dn: 'CN=client', dpop_bound_access_tokens: true });
    const certificate = await issue();
    for (const [htu, expected] of [
      [`${mtls}/token`, 200],
      [`${gatehouse.issuer}/token`, 200],
      [`${mtls}/par`, 400],
      [mtls, 400],
      [`${mtls}.evil.example/token`, 400],
    ] as const) {
      const dpop = await prove(await makeProofKey(), ['POST', htu]);
      assert.equal((await ask(client, certificate, { dpop })).status, expected, htu);
    }
  });

  it('tells in discovery where certificates are asked for, and that tokens may be bound to them', async () => {
    const metadata = (await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).json()) as Members;
    assert.equal(metadata['tls_client_certificate_bound_access_tokens'], true);
    const methods = metadata['token_endpoint_auth_methods_supported'] as string[];
    assert.equal(methods.includes('tls_client_auth') && methods.includes('self_signed_tls_client_auth'), true);
    const aliases = metadata['mtls_endpoint_aliases'] as Readonly<Record<string, string>>;
    const names = [
      'token',
      'revocation',
      'introspection',
      'userinfo',
      'pushed_authorization_request',
      'device_authorization',
    ];
    for (const name of names) assert.ok(aliases[`${name}_endpoint`]?.startsWith(`${mtls}/`), name);
    for (const [name, url] of Object.entries(aliases)) {
      assert.equal(url.replace(mtls, gatehouse.issuer), metadata[name]);
      assert.notEqual((await fetchWith(undefined, authority)(url, { method: 'POST' })).status, 404);
    }
  });

  /** The aliases by TLS, everything else as it is. */
  const fetchEither = (certificate: Certified): openid.CustomFetch => {
    const overTls = fetchWith(certificate, authority);
    return (url, options) =>
      url.startsWith(mtls) ? overTls(url, options as RequestInit) : fetch(url, options as RequestInit);
  };

  /** A person at a single-page application that has a certificate of its own. */
  async function logIn() {
    const spa = await registerPublicApplication(gatehouse, { tls_client_certificate_bound_access_tokens: true });
    const certificate = await certify();
    const { code, verifier } = await requestCode(gatehouse, spa);
    const form = {
      grant_type: 'authorization_code',
      client_id: spa.client_id,
      redirect_uri: REDIRECT_URI,
      code,
      code_verifier: verifier,
    };
    const { status, body: tokens } = await post('/token', form, certificate);
    assert.equal(status, 200, JSON.stringify(tokens));
    return { spa, certificate, tokens };
  }
});
