import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { after, afterEach, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient } from '../support/node/operator.ts';
import {
  CA,
  closeOutside,
  egressTo,
  NAME,
  PUBLIC,
  startOutside,
  type Outside,
} from '../support/network/outside_server.ts';
import { makePolicy, REDIRECT, send } from '../support/client/registration.ts';

/** As many hosts as strangers have places. */
const STRANGERS = 20;

describe('the way out', () => {
  let gatehouse: Gatehouse;
  let slow: readonly Outside[];
  let honest: Outside;
  let key: CryptoKey;
  let jwk: JWK;
  let status = 200;
  let sector: readonly string[] = [];
  /** Answers that the slow hosts owe. */
  const owed: ServerResponse[] = [];

  before(async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    key = pair.privateKey;
    jwk = { ...(await exportJWK(pair.publicKey)), kid: 'honest' };
    slow = await Promise.all(
      Array.from({ length: STRANGERS }, () => startOutside((_, response) => void owed.push(response))),
    );
    honest = await startOutside((request, response) =>
      response.writeHead(status).end(JSON.stringify(request.url === '/sector' ? sector : { keys: [jwk] })),
    );
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_EGRESS_ALLOW: [...slow, honest].map(({ port }) => `https://${NAME}:${port}`).join(','),
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    await makePolicy(gatehouse, {
      name: 'open',
      client_id_metadata_documents: true,
      token_endpoint_auth_methods: ['none', 'private_key_jwt'],
      clients_at_most: 1_000,
      open_registration: true,
      redirect_uri_hosts: ['app.example.com'],
    });
  });
  afterEach(() => {
    status = 200;
    for (const response of owed.splice(0)) response.destroy();
    resetClock();
  });
  after(async () => {
    closeOutside();
    await gatehouse.stop();
  });

  const client = (): Promise<{ client_id: string }> =>
    registerClient(gatehouse, {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: `https://${NAME}:${honest.port}/${randomUUID()}`,
    });

  async function authenticate(client_id: string, header: object = { kid: 'honest' }): Promise<Response> {
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: client_id, sub: client_id, aud: gatehouse.issuer, jti: randomUUID(), exp: now + 60 };
    return fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_assertion: await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', ...header }).sign(key),
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      }),
    });
  }

  /** A stranger's browser, in a network of its own, names a client whose document is at one of the slow hosts. */
  async function nameDocument(at: number, network: number, path: string): Promise<void> {
    const client_id = `https://${NAME}:${slow[at]!.port}/${path}`;
    const answer = await fetch(`${gatehouse.url}/authorize?${authorizationRequest({ client_id })}`, {
      redirect: 'manual',
      headers: { 'x-forwarded-for': `198.51.${network}.1` },
    });
    await answer.arrayBuffer();
  }

  it('has places for a client of an admin while hosts of strangers hold all of theirs (FIELD-B7)', async () => {
    const { client_id } = await client();
    // half of them wait for a place
    const strangers = [...slow, ...slow].map((_, at) => nameDocument(at % STRANGERS, at, `first${at}`));
    await eventually(async () => owed.length === STRANGERS);
    assert.equal((await authenticate(client_id)).status, 200);
    for (const response of owed.splice(0)) response.destroy();
    await Promise.all(strangers);
  });

  it('fetches for a client of an admin at once while strangers hold their places for as long as they like (FIELD-B7)', async () => {
    const limits = { atOnce: 2, totalMilliseconds: 60_000 };
    const { egress } = egressTo([...slow, honest], { limits });
    const held = slow.slice(0, 3).map(({ port }) => egress.get(`https://${NAME}:${port}/held`).catch(() => undefined));
    await eventually(async () => owed.length === 2);
    let fetched = false;
    const url = `https://${NAME}:${honest.port}/at-once`;
    void egress.get(url, { vetted: true }).then(() => (fetched = true));
    await eventually(async () => fetched);
    assert.equal(owed.filter(({ destroyed }) => !destroyed).length, 2);
    const answering = setInterval(() => {
      for (const response of owed.splice(0)) response.end('{}');
    }, 20);
    await Promise.all(held);
    clearInterval(answering);
  });

  it('gives one network of strangers few places, so that others find some (FIELD-B7)', async () => {
    const strangers = slow.map((_, at) => nameDocument(at, 200, 'second'));
    const isFull = (): boolean => gatehouse.log.some((line) => line.includes('"reason":"busy"'));
    await eventually(async () => owed.length >= 4 && isFull());
    assert.equal(owed.length, 4);
    for (const response of owed.splice(0)) response.destroy();
    await Promise.all(strangers);
  });

  it('gives one network of strangers few places for its sector documents, too, and never blames a client for it (FIELD-B7)', async () => {
    const from = (address: string, port: number, path: string) => {
      const metadata = { redirect_uris: [REDIRECT], sector_identifier_uri: `https://${NAME}:${port}/${path}` };
      return send('POST', `${gatehouse.url}/register`, metadata, undefined, { 'x-forwarded-for': address });
    };
    const flood = slow.map(({ port }, at) => from('198.51.201.1', port, `sector${at}`));
    await eventually(async () => owed.length >= 4);
    const answers = Promise.all(flood);
    // ten wait, the rest is told to come again
    const busy = await Promise.any(
      flood.map(async (one) => ((await one).status === 503 ? one : Promise.reject(new Error()))),
    );
    assert.ok(busy.headers.get('retry-after'));
    assert.equal(owed.length, 4);
    sector = [REDIRECT];
    assert.equal((await from('198.51.202.1', honest.port, 'sector')).status, 201);
    const answering = setInterval(() => owed.splice(0).forEach((response) => response.end('[]')), 20);
    assert.ok((await answers).every(({ status: code }) => code === 400 || code === 503));
    clearInterval(answering);
  });

  it('answers 503 with Retry-After where the host of a client’s keys is away, and 200 while a last good copy may serve (FIELD-B7)', async () => {
    const { client_id } = await client();
    status = 503;
    const answer = await authenticate(client_id);
    assert.deepEqual([answer.status, answer.headers.get('retry-after') !== null], [503, true]);
    assert.equal(((await answer.json()) as { error: string }).error, 'temporarily_unavailable');
    status = 200;
    moveClock(11);
    assert.equal((await authenticate(client_id)).status, 200);
    status = 503;
    moveClock(600);
    assert.equal((await authenticate(client_id)).status, 200);
  });

  it('asks for a kid where more keys fit than are tried (FIELD-B2)', async () => {
    const others = Array.from({ length: 5 }, (_, at) => {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      return { ...(publicKey.export({ format: 'jwk' }) as JWK), kid: `other-${at}` };
    });
    const { client_id } = await registerClient(gatehouse, {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [...others, jwk] },
    });
    const answer = await authenticate(client_id, {});
    const body = (await answer.json()) as { error: string; error_description: string };
    assert.deepEqual([answer.status, body.error], [401, 'invalid_client']);
    assert.match(body.error_description, /set kid in the header/);
    assert.equal((await authenticate(client_id)).status, 200);
  });
});
