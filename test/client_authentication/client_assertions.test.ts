import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

interface Changed {
  readonly header?: Record<string, unknown>;
  /** Members that are `undefined` are left out. */
  readonly claims?: Record<string, unknown>;
  readonly key?: CryptoKey;
}

describe('private_key_jwt (RFC 7523, OpenID Connect Core 9)', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let key: CryptoKey;
  let publicKey: CryptoKey;
  let stranger: { privateKey: CryptoKey; publicJwk: JWK };
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    ({ privateKey: key, publicKey } = await generateKeyPair('ES256', { extractable: true }));
    const others = await generateKeyPair('ES256', { extractable: true });
    stranger = { privateKey: others.privateKey, publicJwk: await exportJWK(others.publicKey) };
    client = await registerClient(gatehouse, {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'key-1', use: 'sig' }] },
    });
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const claimsOf = (claims: Record<string, unknown> = {}): Record<string, unknown> => {
    const now = Math.floor(Date.now() / 1000);
    const { client_id } = client;
    return {
      iss: client_id,
      sub: client_id,
      aud: gatehouse.issuer,
      jti: randomUUID(),
      iat: now,
      exp: now + 60,
      ...claims,
    };
  };
  const assertion = ({ header = {}, claims = {}, key: signing = key }: Changed = {}): Promise<string> =>
    new SignJWT(JSON.parse(JSON.stringify(claimsOf(claims))) as Record<string, unknown>)
      .setProtectedHeader({ alg: 'ES256', kid: 'key-1', ...header })
      .sign(signing);
  const present = async (client_assertion: string, form: Record<string, string> = {}, url = gatehouse.url) => {
    const response = await fetch(`${url}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_assertion,
        client_assertion_type: ASSERTION_TYPE,
        ...form,
      }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  const refuses = async (client_assertion: string, form: Record<string, string> = {}): Promise<void> => {
    const { status, body } = await present(client_assertion, form);
    assert.equal(status === 400 || status === 401, true, `status ${status} ${JSON.stringify(body)}`);
    assert.match(body['error']!, /^invalid_(client|request)$/);
    assert.equal(body['access_token'], undefined);
  };
  const unsigned = (header: object, claims: object): string =>
    [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');

  it('is accepted as it should be', async () => {
    assert.equal((await present(await assertion())).status, 200);
  });

  describe('is worth one token', () => {
    it('on this node (TOK-J16)', async () => {
      const single = await assertion();
      assert.equal((await present(single)).status, 200);
      const again = await present(single);
      assert.deepEqual([again.status, again.body['error']], [401, 'invalid_client']);
    });

    it('on all nodes together', async () => {
      const single = await assertion();
      assert.equal((await present(single)).status, 200);
      assert.equal((await present(single, {}, second.url)).status, 401);
    });

    it('of ten requests at once on two nodes', async () => {
      const single = await assertion();
      const nodes = Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? gatehouse.url : second.url));
      const answers = await Promise.all(nodes.map((url) => present(single, {}, url)));
      assert.deepEqual(answers.map(({ status }) => String(status)).sort(), ['200', ...Array<string>(9).fill('401')]);
    });

    it('under each client: the same jti from another one is another assertion', async () => {
      const jti = randomUUID();
      const other = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'key-1' }] },
      });
      assert.equal((await present(await assertion({ claims: { jti } }))).status, 200);
      const its = { jti, iss: other.client_id, sub: other.client_id };
      assert.equal((await present(await assertion({ claims: its }))).status, 200);
    });
  });

  describe('is refused when it is signed', () => {
    it('with alg none, which is no signature (TOK-J01)', async () => {
      await refuses(`${unsigned({ alg: 'none', kid: 'key-1' }, claimsOf())}.`);
    });

    it('by a stranger under the known kid (TOK-J03)', async () => {
      await refuses(await assertion({ key: stranger.privateKey }));
    });

    it('by a stranger who brings the key along (jwk header), under the known kid or none (TOK-J11)', async () => {
      for (const header of [{ jwk: stranger.publicJwk }, { kid: undefined, jwk: stranger.publicJwk }])
        await refuses(await assertion({ key: stranger.privateKey, header }));
    });

    it('by a stranger who says where the key is (x5u and jku headers), and nothing is fetched (TOK-J13)', async () => {
      let fetched = 0;
      const server = createServer((_, response) => void response.end(String(fetched++)));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
      await refuses(await assertion({ key: stranger.privateKey, header: { x5u: address } }));
      await refuses(await assertion({ key: stranger.privateKey, header: { jku: address } }));
      server.close();
      assert.equal(fetched, 0);
    });

    it('with the public key as an HMAC secret (algorithm confusion)', async () => {
      const [pem, jwk] = [await exportSPKI(publicKey), JSON.stringify(await exportJWK(publicKey))];
      for (const secret of [pem, pem.trim(), jwk]) {
        const text = unsigned({ alg: 'HS256', kid: 'key-1' }, claimsOf());
        await refuses(`${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`);
      }
    });

    it('under a kid that the client never registered', async () => {
      await refuses(await assertion({ header: { kid: 'key-2' } }));
    });

    it('with an extension that must be understood (crit) (TOK-J15)', async () => {
      const text = unsigned({ alg: 'ES256', kid: 'key-1', crit: ['urn:x'], 'urn:x': true }, claimsOf());
      const algorithm = { name: 'ECDSA', hash: 'SHA-256' };
      const signature = await crypto.subtle.sign(algorithm, key, Buffer.from(text));
      await refuses(`${text}.${Buffer.from(signature).toString('base64url')}`);
    });

    it('and then changed', async () => {
      const [header, , signature] = (await assertion()).split('.');
      const claims = Buffer.from(JSON.stringify(claimsOf({ exp: Date.now() }))).toString('base64url');
      await refuses(`${header}.${claims}.${signature}`);
    });
  });

  describe('is refused when its claims', () => {
    const past = (): number => Math.floor(Date.now() / 1000) - 120;
    for (const [what, claims] of Object.entries<() => Record<string, unknown>>({
      'are for another server (TOK-J05)': () => ({ aud: 'https://other.example.com' }),
      'are for the token endpoint instead of the issuer': () => ({ aud: `${gatehouse.issuer}/token` }),
      'are for a server whose name starts like ours': () => ({ aud: `${gatehouse.issuer}.evil.example` }),
      'are for us and for another server, which could use them here': () => ({
        aud: [gatehouse.issuer, 'https://other.example.com'],
      }),
      'have no audience': () => ({ aud: undefined }),
      'name another client as issuer (TOK-J07)': () => ({ iss: gatehouse.demo.client_id }),
      'name another client as subject': () => ({ sub: gatehouse.demo.client_id }),
      'have no jti (TOK-J09)': () => ({ jti: undefined }),
      'have no exp': () => ({ exp: undefined }),
      'have expired': () => ({ exp: past(), iat: past() - 60 }),
      'are not valid yet': () => ({ nbf: Math.floor(Date.now() / 1000) + 300 }),
      'live longer than an hour': () => ({ exp: Math.floor(Date.now() / 1000) + 4_000 }),
      'live longer than any database can say': () => ({ exp: 1e15 }),
      'have an exp that is no number': () => ({ exp: 'tomorrow' }),
      'have a jti that is no string': () => ({ jti: { a: 1 } }),
    })) {
      it(what, async () => refuses(await assertion({ claims: claims() })));
    }
  });

  describe('is refused when the request', () => {
    it('names another type of assertion (TOK-J18)', async () => {
      await refuses(await assertion(), { client_assertion_type: 'urn:x' });
    });

    it('names another client', async () => {
      await refuses(await assertion(), { client_id: gatehouse.demo.client_id });
    });

    it('brings no JWT at all', async () => {
      for (const text of ['', 'x', 'a.b.c', '..', `${'e30.'.repeat(1_000)}e30`, 'eyJhbGciOiJFUzI1NiJ9..', '\0.\0.\0']) {
        await refuses(text);
      }
    });
  });
});
