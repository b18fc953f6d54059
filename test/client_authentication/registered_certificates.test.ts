import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { ClientMetadata } from '../../src/clients/metadata/client_metadata.ts';
import { Admin } from '../support/client/admin.ts';
import { certify, type Certified } from '../support/network/certificates.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { closeOutside, PRIVATE, startOutside, type Outside } from '../support/network/outside_server.ts';

type Members = Readonly<Record<string, unknown>>;

describe('certificates that clients register (RFC 8705)', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  let mine: Certified;
  let next: Certified;
  let admin: Admin;
  let published: readonly object[];
  let status: number;
  before(async () => {
    [mine, next] = [await certify(), await certify()];
    outside = await startOutside(
      (_, response) =>
        response.writeHead(status, { 'cache-control': 'max-age=300' }).end(JSON.stringify({ keys: published })),
      { address: PRIVATE, tls: false },
    );
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_EGRESS_ALLOW: `http://${PRIVATE}:${outside.port}`,
        GATEHOUSE_CLIENT_CERTIFICATE_HEADER: 'Client-Cert',
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      },
    });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    closeOutside();
    await gatehouse.stop();
  });
  beforeEach(() => {
    published = [mine.jwk];
    status = 200;
    outside.requests.length = 0;
  });
  afterEach(resetClock);

  describe('at a jwks_uri', () => {
    const registered = (): Promise<RegisteredClient> =>
      registerClient(gatehouse, {
        token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks_uri: `http://${PRIVATE}:${outside.port}/${randomUUID()}`,
      });
    const present = async ({ client_id }: RegisteredClient, { certificate }: Certified): Promise<number> => {
      const header = { 'client-cert': `:${certificate.raw.toString('base64')}:` };
      const form = { grant_type: 'client_credentials', client_id };
      const response = await postForm(`${gatehouse.url}/token`, form, undefined, header);
      await response.body?.cancel();
      return response.status;
    };

    it('are fetched once for many requests, and no other is accepted', async () => {
      const client = await registered();
      for (let times = 0; times < 3; times++) assert.equal(await present(client, mine), 200);
      moveClock(60);
      assert.equal(await present(client, mine), 200);
      assert.equal(outside.requests.length, 1);
      assert.equal(await present(client, next), 401);
    });

    it('are looked for again when an unknown one comes, but not for each of them', async () => {
      const client = await registered();
      assert.equal(await present(client, mine), 200);
      published = [mine.jwk, next.jwk];
      for (let times = 0; times < 5; times++) assert.equal(await present(client, next), 401);
      assert.equal(outside.requests.length, 1);
      moveClock(31);
      assert.equal(await present(client, next), 200);
      assert.equal(await present(client, mine), 200);
      assert.equal(outside.requests.length, 2);
    });

    it('are worth nothing once they were taken away and their max-age is over', async () => {
      const client = await registered();
      assert.equal(await present(client, mine), 200);
      published = [next.jwk];
      moveClock(301);
      assert.equal(await present(client, mine), 401);
      assert.equal(await present(client, next), 200);
    });

    it('outlive a failure of the client’s server by an hour, and no longer', async () => {
      const client = await registered();
      assert.equal(await present(client, mine), 200);
      status = 500;
      moveClock(1_800);
      assert.equal(await present(client, mine), 200);
      moveClock(1_900);
      assert.equal(await present(client, mine), 401);
    });

    it('count only with a key that they are the certificate of', async () => {
      const client = await registered();
      published = [{ ...next.jwk, x5c: mine.jwk.x5c }];
      assert.equal(await present(client, mine), 401);
    });
  });

  describe('by the admin API', () => {
    const refuses = async (members: Members, pointer: string, detail: RegExp): Promise<void> => {
      const answer = await admin.post('/clients', { grant_types: ['client_credentials'], ...members });
      assert.equal(answer.status, 400, answer.text);
      assert.deepEqual(
        answer.body.errors.map((error) => error.pointer),
        [pointer],
      );
      assert.match(answer.body.errors[0]!.detail, detail);
    };
    const tls = (members: Members): Members => ({ token_endpoint_auth_method: 'tls_client_auth', ...members });

    it('are shown as they were registered', async () => {
      const members = tls({
        tls_client_auth_san_dns: 'payments.bank.example',
        tls_client_certificate_bound_access_tokens: true,
      });
      const { status: made, body } = await admin.post('/clients', { grant_types: ['client_credentials'], ...members });
      assert.equal(made, 201);
      const { body: shown } = await admin.get(`/clients/${body.client_id}`);
      for (const [member, value] of Object.entries(members)) assert.equal(shown[member], value, member);
    });

    it('are not parsed if they are too long, or if the client does not authenticate with them (FIELD-C3)', () => {
      const costOf = (members: Members): number => {
        const began = process.cpuUsage();
        const { success } = ClientMetadata.safeParse({ grant_types: ['client_credentials'], ...members });
        const { user, system } = process.cpuUsage(began);
        assert.equal(success, false);
        return user + system;
      };
      const tls_client_auth_subject_dn = `${'CN=a,'.repeat(200_000)}CN=a`;
      for (const members of [tls({ tls_client_auth_subject_dn }), { tls_client_auth_subject_dn }]) {
        const microseconds = [1, 2, 3].map(() => costOf(members));
        // parsing it takes about 700 ms
        assert.ok(Math.min(...microseconds) < 100_000, microseconds.join());
      }
    });

    it('are named in one way, not in none and not in two (RFC 8705, 2.1.2)', async () => {
      await refuses(tls({}), '/tls_client_auth_subject_dn', /must be exactly one of/);
      const two = { tls_client_auth_san_dns: 'a.example', tls_client_auth_san_ip: '192.0.2.1' };
      await refuses(tls(two), '/tls_client_auth_san_ip', /must be exactly one of/);
      await refuses({ tls_client_auth_san_dns: 'a.example' }, '/tls_client_auth_san_dns', /tls_client_auth/);
    });

    for (const [member, values, detail] of [
      [
        'subject_dn',
        ['', 'payments', 'CN=', 'CN=a,', 'CN=a\\', 'CN="a"', 'NOSUCH=a', 'CN=a;O=b', `CN=${'a'.repeat(1_000)}`],
        /must/,
      ],
      [
        'san_dns',
        ['*.bank.example', '.bank.example', 'bank..example', 'a b', '', `${'a'.repeat(64)}.example`],
        /must be a host name/,
      ],
      ['san_uri', ['payments', '', 'https://a b'], /must be an absolute URI/],
      ['san_ip', ['192.0.2', '192.0.2.0/24', 'fe80::1%eth0', ''], /must be an IPv4 or IPv6 address/],
      ['san_email', ['payments', '@bank.example', ''], /must be an email address/],
    ] as const) {
      it(`are not named by a ${member} that can not be one`, async () => {
        for (const value of values) {
          await refuses(tls({ [`tls_client_auth_${member}`]: value }), `/tls_client_auth_${member}`, detail);
        }
      });
    }

    it('are there for a client that proves itself with one of its own', async () => {
      const method = { token_endpoint_auth_method: 'self_signed_tls_client_auth' };
      const { x5c: _, ...keyAlone } = mine.jwk;
      await refuses({ ...method, jwks: { keys: [keyAlone] } }, '/jwks', /must contain the certificate \(x5c\)/);
      await refuses(method, '/jwks', /must contain the certificate/);
      for (const x5c of [next.jwk.x5c, ['x'], [mine.cert], []]) {
        const answer = await admin.post('/clients', { ...method, jwks: { keys: [{ ...mine.jwk, x5c }] } });
        assert.equal(answer.status, 400);
      }
    });

    it('bind tokens, where a key does not bind them already', async () => {
      const both = { dpop_bound_access_tokens: true, tls_client_certificate_bound_access_tokens: true };
      await refuses(both, '/tls_client_certificate_bound_access_tokens', /must be absent/);
    });
  });
});
