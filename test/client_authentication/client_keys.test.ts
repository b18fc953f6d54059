import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { closeOutside, PRIVATE, startOutside, type Outside } from '../support/network/outside_server.ts';

interface Key {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

async function makeKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig' } };
}

describe('a client that publishes its keys (jwks_uri)', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  let client: RegisteredClient;
  let first: Key;
  let second: Key;
  /** What its server answers at the moment. */
  let answer: { status: number; headers: Record<string, string>; body: string };
  /** Hosts that node:http was asked to connect to, in this whole process. */
  const reached: string[] = [];
  const onRequest = (message: unknown): void => {
    reached.push((message as { request: { host: string } }).request.host);
  };

  before(async () => {
    [first, second] = [await makeKey('first'), await makeKey('second')];
    outside = await startOutside((_, response) => response.writeHead(answer.status, answer.headers).end(answer.body), {
      address: PRIVATE,
      tls: false,
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: origin() },
      resolve: async (name) => [{ address: name === 'rebound.client.example' ? PRIVATE : '192.0.2.1', family: 4 }],
    });
    subscribe('http.client.request.created', onRequest);
  });
  after(async () => {
    unsubscribe('http.client.request.created', onRequest);
    closeOutside();
    await gatehouse.stop();
  });
  beforeEach(async () => {
    publish([first]);
    outside.requests.length = 0;
    reached.length = 0;
    client = await registered(`${origin()}/${randomUUID()}`);
  });
  afterEach(resetClock);

  const origin = (): string => `http://${PRIVATE}:${outside.port}`;
  const publish = (keys: readonly (Key | JWK)[], headers: Record<string, string> = {}): void => {
    const body = JSON.stringify({ keys: keys.map((key) => ('jwk' in key ? key.jwk : key)) });
    answer = { status: 200, headers, body };
  };
  const registered = (jwks_uri: string): Promise<RegisteredClient> =>
    registerClient(gatehouse, { token_endpoint_auth_method: 'private_key_jwt', jwks_uri });
  const authenticate = async ({ privateKey, kid }: Key, { client_id } = client) => {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: client_id, sub: client_id, aud: gatehouse.issuer, jti: randomUUID(), exp: now + 60 };
    const client_assertion = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey);
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_assertion,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  const accepts = async (key: Key, who = client): Promise<void> => {
    const { status, body } = await authenticate(key, who);
    assert.equal(status, 200, JSON.stringify(body));
  };
  const refuses = async (key: Key, who = client): Promise<void> => {
    const { status, body } = await authenticate(key, who);
    // the answer does not reveal addresses, reasons or how the fetch failed
    assert.deepEqual({ status, ...body }, { status: 401, error: 'invalid_client', error_description: SAID });
  };
  /** Nothing can be said about a signature while the keys can't be read. */
  const asksToComeAgain = async (key: Key): Promise<void> => {
    const { status, body } = await authenticate(key);
    assert.deepEqual([status, body['error']], [503, 'temporarily_unavailable']);
  };
  const rename = async (): Promise<void> => {
    const renamed = { client_name: `Renamed ${randomUUID()}` };
    assert.equal((await gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, renamed)).status, 200);
  };
  const SAID = 'client authentication failed';

  it('authenticates, and its keys are fetched once for many requests', async () => {
    for (let times = 0; times < 5; times++) await accepts(first);
    await Promise.all(Array.from({ length: 10 }, () => accepts(first)));
    assert.equal(outside.requests.length, 1);
  });

  it('shares what was fetched with others at the same URL', async () => {
    const jwks_uri = `${origin()}/shared`;
    const clients = [];
    for (let times = 0; times < 3; times++) clients.push(await registered(jwks_uri));
    for (const one of clients) await accepts(first, one);
    assert.equal(outside.requests.length, 1);
  });

  it('has its keys read anew when it registers, whatever was fetched for others before (FIELD-C14)', async () => {
    const jwks_uri = `${origin()}/shared-later`;
    publish([first], { 'cache-control': 'max-age=3600' });
    const before_ = await registered(jwks_uri);
    await accepts(first, before_);
    const renewed = await makeKey('first');
    publish([renewed], { 'cache-control': 'max-age=3600' });
    const later = await registered(jwks_uri);
    await accepts(renewed, later);
    await refuses(first, later);
    assert.equal(outside.requests.length, 2);
  });

  describe('when it changes its key', () => {
    it('is accepted with the new one half a minute later at most, with any max-age', async () => {
      publish([first], { 'cache-control': 'max-age=31536000' });
      await accepts(first);
      publish([first, second]);
      moveClock(29);
      await refuses(second);
      assert.equal(outside.requests.length, 1);
      moveClock(2);
      await accepts(second);
      await accepts(first);
      assert.equal(outside.requests.length, 2);
    });

    it('is accepted with a new one under the old kid too', async () => {
      await accepts(first);
      const renewed = await makeKey('first');
      publish([renewed]);
      moveClock(31);
      await accepts(renewed);
      await refuses(first);
    });

    it('is refused with the old one as soon as its max-age is over, though the new one was not used', async () => {
      publish([first], { 'cache-control': 'max-age=120' });
      await accepts(first);
      publish([second], { 'cache-control': 'max-age=120' });
      moveClock(119);
      await accepts(first);
      moveClock(2);
      await refuses(first);
      assert.equal(outside.requests.length, 2);
    });

    it('is refused with the old one after an hour, however long a max-age it gave', async () => {
      publish([first], { 'cache-control': 'max-age=31536000' });
      await accepts(first);
      publish([]);
      moveClock(3_601);
      await refuses(first);
    });
  });

  it("can't be made to hammer its server by unknown kids or bad signatures", async () => {
    await accepts(first);
    const stranger = await makeKey('first');
    for (let round = 1; round <= 3; round++) {
      moveClock(31);
      for (let times = 0; times < 5; times++) {
        await refuses({ ...second, kid: randomUUID() });
        await refuses(stranger);
      }
      assert.equal(outside.requests.length, 1 + round);
    }
    await accepts(first);
  });

  it("can't be made to hammer a server that fails", async () => {
    answer = { status: 500, headers: {}, body: '' };
    for (let round = 1; round <= 3; round++) {
      for (let times = 0; times < 5; times++) await asksToComeAgain(first);
      assert.equal(outside.requests.length, round);
      moveClock(11);
    }
    publish([first]);
    await accepts(first);
  });

  it('is accepted while its server is down, for an hour and no longer', async () => {
    await accepts(first);
    answer = { status: 503, headers: {}, body: '' };
    for (const seconds of [61, 600, 2_900]) {
      moveClock(seconds);
      await accepts(first);
    }
    moveClock(60);
    await asksToComeAgain(first);
    assert.ok(outside.requests.length <= 6, outside.requests.join());
    publish([first]);
    moveClock(11);
    await accepts(first);
  });

  it('is accepted while its server is down, though it was changed in that time', async () => {
    await accepts(first);
    answer = { status: 503, headers: {}, body: '' };
    moveClock(300);
    await rename();
    await accepts(first);
    moveClock(3_300);
    await rename();
    await asksToComeAgain(first);
  });

  describe('is refused when what it publishes', () => {
    for (const [what, body] of Object.entries({
      'is no JSON': '<html>',
      'is no set of keys': '{"keys":{}}',
      'is nothing': '',
      'is an empty set': '{"keys":[]}',
    })) {
      it(what, async () => {
        answer = { status: 200, headers: {}, body };
        await refuses(first);
      });
    }

    it('is far too many keys, its own among them', async () => {
      publish([first, ...Array.from({ length: 100 }, () => ({ kty: 'EC' }))]);
      await refuses(first);
    });

    it('is the private key', async () => {
      publish([{ ...(await exportJWK(first.privateKey)), kid: first.kid }]);
      await refuses(first);
    });

    it('is its keys, elsewhere (redirect)', async () => {
      answer = { status: 302, headers: { location: `${origin()}/elsewhere` }, body: '' };
      await refuses(first);
      assert.equal(outside.requests.length, 1);
    });
  });

  it('is accepted when there are keys beside its own that we cannot use', async () => {
    publish([{ kty: 'AKP', alg: 'ML-DSA-44', pub: 'AA' }, { kty: 'oct', k: 'AA' }, { kty: 'EC' }, first]);
    await accepts(first);
  });

  describe('is refused, and nothing is connected (CVE-2026-1180), when its jwks_uri', () => {
    for (const [what, jwks_uri, reason] of [
      [
        'is the metadata service of a cloud',
        'https://169.254.169.254/latest/meta-data/?a=confidential',
        'address_refused',
      ],
      ['is that in disguise', 'https://0xa9fea9fe/', 'address_refused'],
      ['is this machine', 'https://localhost/keys', 'name_refused'],
      ['resolves to this machine', 'https://rebound.client.example/keys', 'address_refused'],
      ['resolves to an address without a server', 'https://documented.client.example/keys', 'address_refused'],
      ['has another port', 'https://rebound.client.example:8443/keys', 'port_refused'],
      ['is plain http that the operator did not allow', 'http://127.0.0.1:1/keys', 'scheme_refused'],
    ] as const) {
      it(what, async () => {
        const lines = gatehouse.log.length;
        await refuses(first, await registered(jwks_uri));
        assert.deepEqual([reached, outside.requests], [[], []]);
        const logged = gatehouse.log.slice(lines).filter((line) => line.includes('egress.failed'));
        assert.deepEqual(
          logged.map((line) => (JSON.parse(line) as { reason: string }).reason),
          [reason],
        );
        assert.doesNotMatch(gatehouse.log.join(''), /confidential/);
      });
    }

    it('(as against one that is allowed, where a connection is seen)', async () => {
      await accepts(first);
      assert.deepEqual(reached, [PRIVATE]);
    });
  });

  it('reads its keys anew after the client was changed, from what was fetched before', async () => {
    await accepts(first);
    await rename();
    await accepts(first);
    assert.equal(outside.requests.length, 1);
  });

  it('is still accepted after a change of our signing keys, by what was fetched before', async () => {
    await accepts(first);
    const rotated = await gatehouse.adminCall('POST', '/keys/rotate', {
      alg: 'ES256',
      reason: 'test',
      emergency: true,
    });
    assert.equal(rotated.status, 200, await rotated.text());
    await eventually(async () => (await authenticate(first)).status === 200);
    assert.equal(outside.requests.length, 1);
  });

  describe('is registered', () => {
    const register = async (jwks_uri: string): Promise<number> => {
      const metadata = { token_endpoint_auth_method: 'private_key_jwt', grant_types: ['client_credentials'], jwks_uri };
      return (await gatehouse.adminCall('POST', '/clients', metadata)).status;
    };

    it('with an https URL, or with plain http on a loopback address', async () => {
      for (const uri of ['https://keys.client.example/jwks', 'http://127.0.0.1:9400/jwks', 'http://[::1]:9400/jwks']) {
        assert.equal(await register(uri), 201, uri);
      }
    });

    it('with localhost in the place of the address (FIELD-C16)', async () => {
      assert.equal(await register('http://localhost:9400/jwks'), 201);
      for (const uri of ['http://localhost.example:9400/jwks', 'http://keys.localhost:9400/jwks'])
        assert.equal(await register(uri), 400, uri);
    });

    it('with no other URL', async () => {
      const uris = [
        'http://keys.client.example/jwks',
        'http://127.0.0.1.evil.example/',
        'https://a:b@keys.example',
        'x',
      ];
      for (const uri of uris) assert.equal(await register(uri), 400, uri);
    });
  });
});
