import assert from 'node:assert/strict';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { basic } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { bringSecret, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

interface Sent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

const FORM = 'application/x-www-form-urlencoded';
const PLAIN = 'grant_type=client_credentials';

/** Headers for pages and for scripts of other origins: clients on the fast path are neither. */
const FOR_BROWSERS = /^(?:access-control-|content-security-policy|permissions-policy|referrer-policy|x-frame-options)/;

/** The fast path must answer each client and each kind of request as the ordinary path does. */
describe('client credentials on the fast path', () => {
  let gatehouse: Gatehouse;
  const clients: Record<string, RegisteredClient> = {};
  before(async () => {
    gatehouse = await startGatehouse();
    const files = await registerResource(gatehouse, 'files', { access_token_ttl_seconds: 77 });
    const old = await registerResource(gatehouse, 'old', { signing_alg: 'RS256' });
    const notes = { resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') };
    const machine = { grant_types: ['client_credentials'], redirect_uris: [] };
    clients['basic'] = await registerClient(gatehouse, machine);
    clients['post'] = await registerClient(gatehouse, { ...machine, token_endpoint_auth_method: 'client_secret_post' });
    clients['of two APIs'] = await registerClient(gatehouse, { ...machine, resources: [notes, files] });
    clients['of an API with RSA'] = await registerClient(gatehouse, { ...machine, resources: [old] });
    clients['of nothing'] = await registerClient(gatehouse, { ...machine, resources: [] });
    clients['bound to a key'] = await registerClient(gatehouse, { ...machine, dpop_bound_access_tokens: true });
    clients['bound to a certificate'] = await registerClient(gatehouse, {
      ...machine,
      tls_client_certificate_bound_access_tokens: true,
    });
    clients['with a brought secret'] = await registerClient(gatehouse, machine);
    const brought = 'a secret of an operator, spaces and all: ümläut & more';
    await bringSecret(gatehouse, clients['with a brought secret'].client_id, brought);
    clients['with a brought secret'] = { ...clients['with a brought secret'], client_secret: brought };
    clients['for people'] = await registerClient(gatehouse, {
      grant_types: ['authorization_code'],
      redirect_uris: ['https://app.example.com/callback'],
    });
    clients['that was revoked'] = await registerClient(gatehouse, machine);
    const { client_id } = clients['that was revoked'];
    await gatehouse.adminCall('POST', `/clients/${client_id}/revoke`, { reason: 'A test' });
    clients['that nobody knows'] = { client_id: 'nobody', client_secret: clients['basic'].client_secret };
    clients['with a wrong secret'] = { ...clients['basic'], client_secret: clients['post'].client_secret };
    clients['with no secret of ours'] = { ...clients['basic'], client_secret: 'wrong' };
  });
  after(() => gatehouse.stop());

  /** A query without a meaning keeps a request from the fast path. */
  const send = async (sent: Sent, query = ''): Promise<Answer> => {
    const sending = request(`${gatehouse.url}/token${query}`, { method: 'POST', headers: sent.headers });
    sending.end(sent.body);
    const [response] = (await once(sending, 'response')) as [IncomingMessage];
    const { date: _, 'x-request-id': id, 'dpop-nonce': __, 'content-length': ___, ...rest } = response.headers;
    assert.equal(typeof id, 'string');
    const headers = Object.fromEntries(Object.entries(rest).filter(([name]) => !FOR_BROWSERS.test(name)));
    const content = await text(response);
    return {
      status: response.statusCode!,
      headers,
      body: content === '' ? {} : (JSON.parse(content) as Record<string, unknown>),
    };
  };
  const leanAnswers = async (): Promise<number> => {
    const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
  };
  const lastEvent = () =>
    gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome', 'actor_type', 'actor_id', 'client_id', 'account_id', 'address', 'details'])
      .where('event', 'like', 'token.%')
      .orderBy('occurred_at', 'desc')
      .orderBy('sequence', 'desc')
      .limit(1)
      .executeTakeFirstOrThrow();

  /** What may differ between two tokens for one request: their ids and when they were made. */
  const comparable = ({ status, headers, body }: Answer) => {
    const { access_token, ...members } = body;
    if (typeof access_token !== 'string') return { status, headers, body };
    const { jti, iat, exp, ...claims } = decodeJwt(access_token);
    const token = { header: decodeProtectedHeader(access_token), claims, ttl: exp! - iat!, idLength: jti!.length };
    return { status, headers, body: members, token };
  };
  const eventOf = async () => {
    const { details, ...event } = await lastEvent();
    // the two may fall into different seconds
    const { jti, expires_at, ...rest } = details;
    return { ...event, details: rest, withId: jti !== undefined, ends: expires_at !== undefined };
  };

  /** Sends the request on both paths; returns whether the fast path answered the first one. */
  const compare = async (sent: Sent, what: string): Promise<boolean> => {
    const earlier = await leanAnswers();
    const lean = await send(sent);
    const event = await eventOf();
    const taken = (await leanAnswers()) - earlier === 1;
    const ordinary = await send(sent, '?ordinary');
    assert.equal((await leanAnswers()) - earlier, taken ? 1 : 0, what);
    assert.deepEqual(comparable(lean), comparable(ordinary), what);
    assert.deepEqual(event, await eventOf(), what);
    assert.equal(lean.status < 500, true, what);
    return taken;
  };

  const withBasic = ({ client_id, client_secret }: RegisteredClient, body = PLAIN): Sent => ({
    headers: { 'content-type': FORM, authorization: basic(client_id, client_secret), ...lengthOf(body) },
    body,
  });
  const withPost = ({ client_id, client_secret }: RegisteredClient, body = PLAIN): Sent => {
    const whole = `${body}&${new URLSearchParams({ client_id, client_secret })}`;
    return { headers: { 'content-type': FORM, ...lengthOf(whole) }, body: whole };
  };
  const lengthOf = (body: string) => ({ 'content-length': String(Buffer.byteLength(body)) });

  it('takes what common clients send', async () => {
    const { resource } = gatehouse.demo;
    const named = `&resource=${encodeURIComponent(resource)}`;
    for (const body of [PLAIN, `${PLAIN}&scope=notes%3Aread`, `${PLAIN}&scope=notes:read+notes:write${named}`]) {
      assert.equal(await compare(withBasic(clients['basic']!, body), `basic, ${body}`), true, body);
      assert.equal(await compare(withPost(clients['post']!, body), `post, ${body}`), true, body);
      assert.equal(await compare(withBasic(clients['of two APIs']!, `${body}&scope=`), body), false, body);
    }
  });

  it('gives a token that verifies with our JWKS', async () => {
    const { body } = await send(withBasic(clients['basic']!));
    const keys = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { payload } = await jwtVerify(String(body['access_token']), keys, {
      issuer: gatehouse.issuer,
      audience: gatehouse.demo.resource,
      typ: 'at+jwt',
    });
    assert.equal(payload.sub, clients['basic']!.client_id);
  });

  it('answers every client as the ordinary path does, with each way to authenticate', async () => {
    const taken: string[] = [];
    for (const [name, client] of Object.entries(clients)) {
      if (await compare(withBasic(client), `${name}, basic`)) taken.push(`${name}, basic`);
      if (await compare(withPost(client), `${name}, post`)) taken.push(`${name}, post`);
    }
    assert.deepEqual(taken, ['basic, basic', 'post, post', 'of an API with RSA, basic']);
  });

  it('answers every form as the ordinary path does', async () => {
    const { resource } = gatehouse.demo;
    const encoded = encodeURIComponent(resource);
    const forms = [
      '',
      'grant_type',
      'grant_type=',
      'grant_type=password',
      'grant_type=client%5Fcredentials',
      `${PLAIN}&grant_type=client_credentials`,
      `${PLAIN}&scope=`,
      `${PLAIN}&scope=notes%3Adelete`,
      `${PLAIN}&scope=notes%3Aread+notes%3Aread`,
      `${PLAIN}&scope=+notes%3Aread`,
      `${PLAIN}&scope=notes%3Aread++notes%3Awrite`,
      `${PLAIN}&scope=openid`,
      `${PLAIN}&scope=%ZZ`,
      `${PLAIN}&scope=%00`,
      `${PLAIN}&scope=a"b`,
      `${PLAIN}&scope=ü`,
      `${PLAIN}&scope=notes%3Aread&scope=notes%3Awrite`,
      `${PLAIN}&resource=${encoded}`,
      `${PLAIN}&resource=${resource}`,
      `${PLAIN}&resource=${encoded}&resource=${encoded}`,
      `${PLAIN}&resource=${encoded}%23fragment`,
      `${PLAIN}&resource=https%3A%2F%2Fother.example`,
      `${PLAIN}&resource=nothing`,
      `${PLAIN}&resource=`,
      `${PLAIN}&unknown=1`,
      `${PLAIN}&__proto__=1`,
      `${PLAIN}&audience=${encoded}`,
      `${PLAIN}&authorization_details=%5B%5D`,
      `${PLAIN}&client_id=nobody`,
      `${PLAIN}&client_id=${clients['basic']!.client_id}`,
      `${PLAIN}&client_secret=${clients['basic']!.client_secret}`,
      `${PLAIN}&client_assertion=x&client_assertion_type=y`,
      `&${PLAIN}`,
      `${PLAIN}&`,
      `${PLAIN};scope=notes%3Aread`,
      `{"grant_type":"client_credentials"}`,
      `${PLAIN}&scope=${'x'.repeat(3_000)}`,
    ];
    for (const form of forms) await compare(withBasic(clients['basic']!, form), form.slice(0, 200));
    for (const form of forms)
      await compare(withBasic(clients['of two APIs']!, form), `two APIs, ${form.slice(0, 200)}`);
  });

  it('answers every header as the ordinary path does', async () => {
    const sent = withBasic(clients['basic']!);
    const credentials = basic(clients['basic']!.client_id, clients['basic']!.client_secret).slice('Basic '.length);
    const headers: Record<string, string>[] = [
      { authorization: `bAsIc ${credentials}` },
      { authorization: `Basic  ${credentials}` },
      { authorization: `Basic ${credentials}=` },
      { authorization: `Basic ${credentials.replace(/=+$/, '')}` },
      { authorization: `Basic !${credentials}` },
      { authorization: 'Basic' },
      { authorization: 'Basic Og==' },
      { authorization: `Bearer ${credentials}` },
      { authorization: '' },
      { 'content-type': `${FORM};charset=UTF-8` },
      { 'content-type': `${FORM}; charset=latin1` },
      { 'content-type': 'application/json' },
      { 'content-type': 'multipart/form-data' },
      { origin: 'https://app.example.com' },
      { dpop: 'nothing' },
      { 'content-encoding': 'gzip' },
      { 'x-http-method-override': 'DELETE' },
      { accept: 'text/html' },
    ];
    for (const header of headers) {
      await compare({ ...sent, headers: { ...sent.headers, ...header } }, JSON.stringify(header));
    }
    const { 'content-length': _, ...chunked } = sent.headers;
    await compare({ ...sent, headers: { ...chunked, 'transfer-encoding': 'chunked' } }, 'chunked');
  });

  it('reads a form that comes in pieces, and serves the next request on the same connection', async () => {
    const { headers, body } = withBasic(clients['basic']!);
    const sending = request(`${gatehouse.url}/token`, { method: 'POST', headers });
    sending.write(body.slice(0, 9));
    await new Promise((resolve) => setTimeout(resolve, 50));
    sending.end(body.slice(9));
    const [response] = (await once(sending, 'response')) as [IncomingMessage];
    assert.equal(response.statusCode, 200);
    await text(response);
    for (let i = 0; i < 3; i++) assert.equal((await send(withBasic(clients['basic']!))).status, 200);
  });

  it('signs with the new key after a rotation', async () => {
    const kid = async () =>
      decodeProtectedHeader(String((await send(withBasic(clients['basic']!))).body['access_token'])).kid;
    const old = await kid();
    const rotated = await gatehouse.adminCall('POST', '/keys/rotate', {
      alg: 'ES256',
      reason: 'A test',
      emergency: true,
    });
    assert.equal(rotated.status, 200);
    assert.notEqual(await kid(), old);
    assert.equal(await compare(withBasic(clients['basic']!), 'after a rotation'), true);
  });
});
