import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, randomUUID, sign, type KeyObject } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { certify } from '../support/network/certificates.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { processorMilliseconds, slowness } from '../support/node/processor_time.ts';
import { Processes, type Server as GatehouseProcess } from '../support/node/process.ts';

/** The bound of issue 9, part B. */
const MILLISECONDS_AT_MOST = 10;
const REPEATS = 25;
const CALLBACK = (origin: string): string => `${origin}/callback`;

type Json = Readonly<Record<string, unknown>>;

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** An RSA key whose public exponent is as long as its modulus: each verification is as dear as a signature. */
function withHugeExponent(kid?: string): Json {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 3_072 });
  const exponent = randomBytes(384);
  exponent[0]! &= 0x3f;
  exponent[383]! |= 1;
  return { ...publicKey.export({ format: 'jwk' }), e: exponent.toString('base64url'), ...(kid && { kid }) };
}

describe('a request of a stranger', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let folder: string;
  let outside: Server;
  let origin: string;
  let server: GatehouseProcess;
  /** What the strangers' host publishes, by path. */
  const published = new Map<string, Json>();
  const rsa = generateKeyPairSync('rsa', { modulusLength: 4_096 });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  let perUnit = 1;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-strangers-'));
    const authority = await certify({ subject: 'CN=Hosts of strangers', authority: true });
    const host = await certify({ subject: 'CN=127.0.0.1', by: authority, names: [{ type: 'ip', value: '127.0.0.1' }] });
    await writeFile(join(folder, 'ca.pem'), authority.cert);
    outside = createServer({ cert: host.cert, key: host.key }, (request, response) => {
      const body = published.get(request.url ?? '');
      response.writeHead(body ? 200 : 404, { 'content-type': 'application/json', 'cache-control': 'max-age=3600' });
      response.end(JSON.stringify(body ?? {}));
    });
    await once(outside.listen(0, '127.0.0.1'), 'listening');
    origin = `https://127.0.0.1:${(outside.address() as AddressInfo).port}`;
    database = await cloneDatabase();
    server = await processes.start({
      ISSUER: 'http://127.0.0.1:3000',
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_PROFILE: 'mcp',
      GATEHOUSE_EGRESS_ALLOW: origin,
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
      GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000',
    });
    perUnit = slowness();
    // the code that answers is compiled once
    const known = client([publicJwk(ec.publicKey)]);
    for (let times = 0; times < 30; times++) await authorize(known, {});
  });
  after(async () => {
    await processes.end();
    outside.close();
    outside.closeAllConnections();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  const publicJwk = (key: KeyObject): Json => key.export({ format: 'jwk' });

  /** Publishes a client metadata document whose keys are these, and answers its address. */
  function client(keys: readonly Json[]): string {
    const name = randomUUID();
    published.set(`/${name}/keys`, { keys });
    published.set(`/${name}`, {
      client_id: `${origin}/${name}`,
      client_name: 'A stranger',
      redirect_uris: [CALLBACK(origin)],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: `${origin}/${name}/keys`,
    });
    return `${origin}/${name}`;
  }

  /** The signature is made up, but as long as the key's signatures: no verification ends early. */
  function jwt(alg: string, header: Json, claims: Json): string {
    const { signatureBytes = alg.startsWith('ES') ? 64 : 512, ...others } = header;
    const now = Math.floor(Date.now() / 1_000);
    const text = `${base64url({ alg, ...others })}.${base64url({ exp: now + 300, nbf: now, iat: now, ...claims })}`;
    const signature = randomBytes(Number(signatureBytes));
    signature[0] = 1;
    return `${text}.${signature.toString('base64url')}`;
  }

  async function authorize(client_id: string, parameters: Readonly<Record<string, string>>): Promise<number> {
    const query = new URLSearchParams({
      client_id,
      response_type: 'code',
      redirect_uri: CALLBACK(origin),
      scope: 'openid',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
      ...parameters,
    });
    const answer = await fetch(`${server.url}/authorize?${query}`, { redirect: 'manual' });
    await answer.arrayBuffer();
    return answer.status;
  }

  async function post(path: string, body: string): Promise<number> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await fetch(`${server.url}${path}`, { method: 'POST', headers, body, redirect: 'manual' });
    await answer.arrayBuffer();
    return answer.status;
  }

  const requestOf = (id: string, alg: string, header: Json = {}, claims: Json = {}): Promise<number> =>
    authorize(id, {
      request: jwt(alg, header, { iss: id, aud: 'http://127.0.0.1:3000', client_id: id, ...claims }),
    });
  const assertionOf = (id: string, alg: string, header: Json = {}): Promise<number> =>
    post(
      '/token',
      new URLSearchParams({
        grant_type: 'authorization_code',
        code: 'x',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: jwt(alg, header, { iss: id, sub: id, aud: 'http://127.0.0.1:3000', jti: randomUUID() }),
      }).toString(),
    );
  const many = (count: number, of: (index: number) => string): string =>
    Array.from({ length: count }, (_, index) => of(index)).join('&');
  const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

  /** Each made once and then asked for many times; `fresh` names another document each time. */
  const HOSTILE: Readonly<Record<string, () => () => Promise<number>>> = {
    'that names 4 RSA keys with a 3,071-bit exponent': () => {
      const id = client(Array.from({ length: 4 }, () => withHugeExponent()));
      return () => requestOf(id, 'RS256', { signatureBytes: 384 });
    },
    'that names 100 keys and no kid': () => {
      const id = client(Array.from({ length: 100 }, () => publicJwk(rsa.publicKey)));
      return () => requestOf(id, 'RS256');
    },
    'that names 32 keys of 4,096 bits and no kid': () => {
      const id = client(Array.from({ length: 32 }, () => publicJwk(rsa.publicKey)));
      return () => requestOf(id, 'PS256');
    },
    'that names 4 keys of 4,096 bits': () => {
      const id = client(Array.from({ length: 4 }, () => publicJwk(rsa.publicKey)));
      return () => requestOf(id, 'RS256');
    },
    'with a client assertion for such keys': () => {
      const id = client([withHugeExponent('a'), ...Array.from({ length: 99 }, () => publicJwk(rsa.publicKey))]);
      return () => assertionOf(id, 'RS256');
    },
    'with a request object of nested claims': () => {
      const id = client([publicJwk(ec.publicKey)]);
      return () => requestOf(id, 'ES256', {}, { authorization_details: JSON.parse(deep(2_000)) as Json });
    },
    'with nested claims and authorization_details': () => {
      const id = client([publicJwk(ec.publicKey)]);
      return () => authorize(id, { claims: deep(1_000), authorization_details: deep(1_000) });
    },
    'with 1,500 scopes': () => {
      const id = client([publicJwk(ec.publicKey)]);
      return () => authorize(id, { scope: Array.from({ length: 1_500 }, (_, at) => `s${at}`).join(' ') });
    },
    'with 10,000 parameters': () => () =>
      post(
        '/token',
        many(10_000, (at) => `a${at}=`),
      ),
    'with one parameter 14,000 times': () => () =>
      post(
        '/token',
        many(14_000, () => 'a='),
      ),
    'with a secret of 50,000 characters': () => () =>
      post('/token', `grant_type=client_credentials&client_id=gatehouse-demo&client_secret=${'a'.repeat(50_000)}`),
    'with an assertion of 50,000 characters': () => () =>
      post('/token', `client_assertion_type=urn&client_assertion=${'a.'.repeat(25_000)}`),
    'to log out with a hint that is none': () => () => post('/logout', `id_token_hint=${'a.'.repeat(3_900)}`),
    'to register with nested JSON': () => async () => {
      const headers = { 'content-type': 'application/json' };
      const body = `{"client_name":${deep(30_000)}}`;
      return (await fetch(`${server.url}/register`, { method: 'POST', headers, body })).status;
    },
    'to register 10 dear keys': () => async () => {
      const keys = Array.from({ length: 10 }, () => withHugeExponentOnce);
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ redirect_uris: ['https://a.example/cb'], jwks: { keys } });
      return (await fetch(`${server.url}/register`, { method: 'POST', headers, body })).status;
    },
  };
  const withHugeExponentOnce = withHugeExponent();

  it('that is signed with a key that a document names is taken, so that the others are refused for their keys', async () => {
    const id = client([publicJwk(ec.publicKey)]);
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: id, aud: 'http://127.0.0.1:3000', client_id: id, exp: now + 300, nbf: now };
    const text = `${base64url({ alg: 'ES256' })}.${base64url({ ...claims, redirect_uri: CALLBACK(origin), response_type: 'code', scope: 'openid', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' })}`;
    const signature = sign('sha256', Buffer.from(text), { key: ec.privateKey, dsaEncoding: 'ieee-p1363' });
    assert.equal(await authorize(id, { request: `${text}.${signature.toString('base64url')}` }), 303);
  });

  for (const [what, prepare] of Object.entries(HOSTILE)) {
    it(`${what} costs at most 10 ms of the server's processor, and is refused (FIELD-B2)`, async (test) => {
      const ask = prepare();
      // a document and its keys are read at the first
      await ask();
      const began = await processorMilliseconds(server.managementUrl);
      const statuses = new Set<number>();
      for (let times = 0; times < REPEATS; times++) statuses.add(await ask());
      const each = ((await processorMilliseconds(server.managementUrl)) - began) / REPEATS;
      test.diagnostic(`${each.toFixed(1)} ms (machine ${perUnit.toFixed(1)}); ${[...statuses].join()}`);
      assert.ok(each <= MILLISECONDS_AT_MOST * perUnit, `${each.toFixed(1)} ms`);
      for (const status of statuses) assert.ok(status < 500, String(status));
    });
  }
});
