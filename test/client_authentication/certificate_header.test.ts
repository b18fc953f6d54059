import assert from 'node:assert/strict';
import { request } from 'node:http';
import { once } from 'node:events';
import { json } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import {
  certify,
  CLIENT_AUTH,
  SERVER_AUTH,
  type CertificateParts,
  type Certified,
} from '../support/network/certificates.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, string>>;
}

describe('a client certificate that a proxy passes on in a header', () => {
  let gatehouse: Gatehouse;
  let elsewhere: Gatehouse;
  let unconfigured: Gatehouse;
  let authority: Certified;
  let issuing: Certified;
  let client: RegisteredClient;
  before(async () => {
    authority = await certify({ subject: 'CN=Clients of the bank', authority: true });
    const over = new Date(Date.now() - 3_600_000);
    issuing = await certify({ subject: 'CN=Last year', authority: true, notAfter: over });
    const tls = { authorities: [authority.certificate, issuing.certificate] };
    const node = (proxies: string): Parameters<typeof startGatehouse>[0] => ({
      environment: { GATEHOUSE_CLIENT_CERTIFICATE_HEADER: 'Client-Cert', GATEHOUSE_TRUSTED_PROXIES: proxies },
      tls,
    });
    gatehouse = await startGatehouse(node('127.0.0.1'));
    elsewhere = await startGatehouse({ ...node('10.0.0.0/8'), beside: gatehouse });
    unconfigured = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' }, beside: gatehouse });
    client = await registerClient(gatehouse, {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: 'CN=client',
      tls_client_certificate_bound_access_tokens: true,
    });
  });
  after(async () => {
    for (const node of [unconfigured, elsewhere, gatehouse]) await node.stop();
  });

  const ask = async (
    header: string | string[] | undefined,
    { node = gatehouse, name = 'client-cert', who = client } = {},
  ): Promise<Answer> => {
    const asked = request(`${node.url}/token`, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        ...(header !== undefined && { [name]: header }),
      },
    });
    asked.end(`grant_type=client_credentials&client_id=${who.client_id}`);
    const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
    return { status: response.statusCode, body: (await json(response)) as Answer['body'] };
  };
  const refuses = async (
    header: string | string[] | undefined,
    expected: [number, string],
    how = {},
  ): Promise<void> => {
    const { status, body } = await ask(header, how);
    assert.deepEqual([status, body['error'], body['access_token']], [...expected, undefined]);
  };
  const UNKNOWN: [number, string] = [401, 'invalid_client'];
  const MALFORMED: [number, string] = [400, 'invalid_request'];
  const base64 = ({ certificate }: Certified): string => certificate.raw.toString('base64');
  const sf = (one: Certified): string => `:${base64(one)}:`;
  const issue = (parts: CertificateParts = {}): Promise<Certified> => certify({ by: authority, ...parts });

  for (const [what, write] of [
    ['as RFC 9440 has it', sf],
    ['as nginx and Envoy escape it', ({ cert }: Certified) => encodeURIComponent(cert)],
    ['as bare base64, as HAProxy does', base64],
    ['as escaped base64, as Traefik does', (one: Certified) => encodeURIComponent(base64(one))],
  ] as const) {
    it(`proves the client and binds its token, ${what}`, async () => {
      const certificate = await issue();
      const { status, body } = await ask(write(certificate));
      assert.equal(status, 200, JSON.stringify(body));
      const claims = JSON.parse(Buffer.from(body['access_token']!.split('.')[1]!, 'base64url').toString()) as object;
      assert.deepEqual((claims as { cnf: unknown }).cnf, { 'x5t#S256': certificate.thumbprint });
    });
  }

  it('is not there where the client alone says so: from an address that is no proxy of ours (MTLS-04)', async () => {
    await refuses(sf(await issue()), UNKNOWN, { node: elsewhere });
  });

  it('is not there under any other name than the one configured (MTLS-04)', async () => {
    const certificate = await issue();
    for (const name of [
      'client-certificate',
      'x-ssl-cert',
      'ssl-client-cert',
      'x-forwarded-client-cert',
      'client_cert',
    ]) {
      await refuses(sf(certificate), UNKNOWN, { name });
      await refuses(encodeURIComponent(certificate.cert), UNKNOWN, { name });
    }
  });

  it('is refused when it comes twice, be it the same: the first may be the client’s own (MTLS-04)', async () => {
    const mine = sf(await issue());
    const other = sf(await issue({ subject: 'CN=other' }));
    for (const both of [
      [mine, mine],
      [other, mine],
      [mine, ''],
      ['', mine],
    ])
      await refuses(both, MALFORMED);
    await refuses(`${mine}, ${mine}`, MALFORMED);
    const { cert } = await issue();
    await refuses(encodeURIComponent(`${cert}${cert}`), MALFORMED);
  });

  it('is none where the proxy says so', async () => {
    for (const none of [undefined, '', '-', '(null)']) await refuses(none, UNKNOWN);
  });

  it('is refused when it is anything else, and breaks nothing', async () => {
    const good = await issue();
    const der = good.certificate.raw;
    const texts = [
      '::',
      ':x:',
      ':====:',
      'x',
      '%',
      '%00',
      'null',
      `:${der.subarray(0, -1).toString('base64')}:`,
      `:${Buffer.concat([der, Buffer.from('more')]).toString('base64')}:`,
      `${sf(good)};a=b`,
      `:${base64(good).replaceAll('A', '-')}:`,
      encodeURIComponent(good.cert.replace('BEGIN', 'BEGIN TRUSTED')),
      encodeURIComponent(good.key),
      encodeURIComponent(`${good.key}${good.cert}`),
      Buffer.alloc(6_000, 'x').toString('base64'),
      `:${Buffer.from('3080'.repeat(1_000), 'hex').toString('base64')}:`,
    ];
    for (const text of texts) await refuses(text, MALFORMED);
  });

  describe('is verified here too, even if the proxy did not:', () => {
    for (const [what, make] of Object.entries<() => Promise<Certified>>({
      'one that no trusted authority has issued': () => certify(),
      'one of another authority of the same name': async () =>
        certify({ by: await certify({ subject: 'CN=Clients of the bank', authority: true }) }),
      'one that only says that it is of our authority': async () => {
        const { privateKey } = (await certify()).keys;
        return certify({ by: { ...authority, keys: { ...authority.keys, privateKey } } });
      },
      'one that is over': () => issue({ notAfter: new Date(Date.now() - 1_000) }),
      'one that is not valid yet': () => issue({ notBefore: new Date(Date.now() + 3_600_000) }),
      'one for servers': () => issue({ usages: [SERVER_AUTH] }),
      'one of an authority that is over': () => certify({ by: issuing }),
      'one that another client has issued': async () => certify({ by: await issue({ subject: 'CN=other' }) }),
      'one of another subject': () => issue({ subject: 'CN=other' }),
    })) {
      it(`refuses ${what}`, async () => refuses(sf(await make()), UNKNOWN));
    }

    it('takes one for clients', async () => {
      assert.equal((await ask(sf(await issue({ usages: [SERVER_AUTH, CLIENT_AUTH] })))).status, 200);
    });
  });

  it('is needed: a node that sees no certificates gives such a client nothing, rather than something unbound', async () => {
    const certificate = sf(await issue());
    await refuses(certificate, UNKNOWN, { node: unconfigured });
    const spa = await registerClient(gatehouse, { tls_client_certificate_bound_access_tokens: true });
    await refuses(certificate, UNKNOWN, { node: unconfigured, who: spa });
    const metadata = await (await fetch(`${unconfigured.url}/.well-known/openid-configuration`)).text();
    assert.doesNotMatch(metadata, /tls_client|mtls/);
  });

  it('is asked for at the issuer itself: discovery names no other address', async () => {
    const metadata = await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).text();
    assert.match(metadata, /"tls_client_certificate_bound_access_tokens":true/);
    assert.doesNotMatch(metadata, /mtls_endpoint_aliases/);
  });
});
