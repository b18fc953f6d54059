import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { once } from 'node:events';
import { json } from 'node:stream/consumers';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { sql } from 'kysely';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { removeExpiredRows } from '../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from './support/clock.ts';
import {
  configure,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  requestCode,
  type Callback,
} from './support/code_flow.ts';
import { athOf, makeProofKey, prove, type ProofKey, type ProofParts } from './support/dpop.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { registerClient, type RegisteredClient } from './support/operator.ts';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

describe('DPoP (RFC 9449)', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let spa: RegisteredClient;
  let key: ProofKey;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    client = await registerClient(gatehouse, { dpop_bound_access_tokens: true });
    spa = await registerPublicApplication(gatehouse);
    key = await makeProofKey();
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const tokenUrl = (): string => `${gatehouse.issuer}/token`;
  const proof = (parts: ProofParts = {}, by = key): Promise<string> => prove(by, ['POST', tokenUrl()], parts);
  const read = async (response: Response): Promise<Answer> => {
    const text = await response.text();
    const body = (text === '' ? {} : JSON.parse(text)) as Answer['body'];
    return { status: response.status, headers: response.headers, body };
  };
  const ask = async (
    dpop: string | undefined,
    form: Readonly<Record<string, string>> = {},
    { who = client, node = gatehouse }: { who?: RegisteredClient; node?: Gatehouse } = {},
  ): Promise<Answer> => {
    const named = who.client_secret === '' ? { client_id: who.client_id } : {};
    const parameters = { grant_type: 'client_credentials', ...named, ...form };
    const headers = dpop === undefined ? undefined : { DPoP: dpop };
    return read(await postForm(`${node.url}/token`, parameters, who.client_secret === '' ? undefined : who, headers));
  };
  const refuses = async (dpop: string | undefined, error = 'invalid_dpop_proof'): Promise<void> => {
    const { status, body } = await ask(dpop);
    assert.deepEqual([status, body['error'], body['access_token']], [400, error, undefined], JSON.stringify(body));
  };
  const ago = (seconds: number): number => Math.floor(Date.now() / 1000) - seconds;
  const codeForm = ({ code, verifier }: Callback) => ({
    grant_type: 'authorization_code',
    redirect_uri: REDIRECT_URI,
    code,
    code_verifier: verifier,
  });
  /** The tokens of a person at the single-page application, bound to the key; for userinfo. */
  const boundTokens = async (): Promise<{ access_token: string; refresh_token: string }> => {
    const { body } = await ask(await proof(), codeForm(await requestCode(gatehouse, spa)), { who: spa });
    assert.equal(body['token_type'], 'DPoP', JSON.stringify(body));
    return body as unknown as { access_token: string; refresh_token: string };
  };

  it('DPOP-00: gives a token that is bound to the key of a valid proof', async () => {
    const { status, body } = await ask(await proof());
    assert.deepEqual([status, body['token_type']], [200, 'DPoP']);
    assert.deepEqual(decodeJwt(String(body['access_token']))['cnf'], { jkt: key.thumbprint });
  });

  describe('as clients speak it that nobody here wrote:', () => {
    it('openid-client binds a code, its tokens, a refresh and userinfo to its key', async () => {
      const application = await registerApplication(gatehouse, { dpop_bound_access_tokens: true });
      const { config, callback, checks } = await requestCode(gatehouse, application);
      const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair());
      const tokens = await openid.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
      assert.equal(tokens.token_type, 'dpop');
      const { sub } = tokens.claims()!;
      assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).sub, sub);
      const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!, undefined, { DPoP });
      assert.equal((await openid.fetchUserInfo(config, renewed.access_token, sub, { DPoP })).sub, sub);
    });

    for (const alg of ['ES256', 'Ed25519'] as const) {
      it(`openid-client gets a token by client credentials with ${alg}, and introspection shows the key`, async () => {
        const config = await configure(gatehouse, client);
        const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(alg));
        const { access_token } = await openid.clientCredentialsGrant(config, undefined, { DPoP });
        const told = await openid.tokenIntrospection(config, access_token);
        assert.equal(told.token_type, 'DPoP');
        assert.equal(told.cnf?.jkt, await DPoP.calculateThumbprint());
      });
    }

    it('oauth4webapi takes a nonce from one node to another, and a fresh one when its own is too old', async () => {
      const insecure = { [oauth.allowInsecureRequests]: true };
      const its: oauth.Client = { client_id: client.client_id };
      const server = { issuer: gatehouse.issuer, token_endpoint: tokenUrl() };
      const nonces: (string | undefined)[] = [];
      const DPoP = oauth.DPoP(its, await oauth.generateKeyPair('ES256'), {
        [oauth.modifyAssertion]: (_, payload) => void nonces.push(payload['nonce'] as string | undefined),
      });
      const grant = async (at: Gatehouse): Promise<oauth.TokenEndpointResponse> => {
        const authentication = oauth.ClientSecretBasic(client.client_secret);
        const toNode: typeof fetch = (_, init) => fetch(`${at.url}/token`, init);
        const options = {
          ...insecure,
          DPoP,
          [oauth.customFetch]: toNode,
        } as oauth.ClientCredentialsGrantRequestOptions;
        const answer = await oauth.clientCredentialsGrantRequest(server, its, authentication, {}, options);
        return oauth.processClientCredentialsResponse(server, its, answer);
      };
      await grant(gatehouse);
      assert.equal((await grant(second)).token_type, 'dpop');
      assert.equal(nonces[0], undefined);
      assert.match(nonces[1] ?? '', /^[\w-]{43}$/);

      moveClock(600);
      await assert.rejects(grant(gatehouse), (error) => oauth.isDPoPNonceError(error));
      assert.equal((await grant(second)).token_type, 'dpop');
      assert.equal(new Set(nonces.slice(1)).size, 2);
    });
  });

  describe('refuses a proof', () => {
    it('DPOP-02: for another path of this server', async () => {
      await refuses(await proof({ claims: { htu: `${gatehouse.issuer}/other` } }));
    });

    for (const [what, htu] of Object.entries<() => unknown>({
      'of another server': () => 'https://other.example.com/token',
      'of the node that it was sent to, which is not the issuer': () => `${second.url}/token`,
      'under the same host with another scheme': () => tokenUrl().replace('http:', 'https:'),
      'that is no URL': () => '/token',
      'that is no text': () => [tokenUrl()],
      'that is missing': () => undefined,
    })) {
      it(`for a URL ${what}`, async () => {
        const { body } = await ask(await proof({ claims: { htu: htu() } }), {}, { node: second });
        assert.equal(body['error'], 'invalid_dpop_proof');
      });
    }

    it('for another method', async () => {
      for (const htm of ['GET', 'post', undefined]) await refuses(await proof({ claims: { htm } }));
    });

    it('DPOP-04: that was made an hour ago', async () => {
      await refuses(await proof({ claims: { iat: ago(3_600) } }));
    });

    it('that was made six minutes ago, also with a nonce that is valid', async () => {
      const nonce = (await ask(await proof())).headers.get('dpop-nonce')!;
      await refuses(await proof({ claims: { nonce, iat: ago(360) } }));
      await refuses(await proof({ claims: { nonce, iat: 1 } }));
      assert.equal((await ask(await proof({ claims: { nonce } }))).status, 200);
    });

    it('that was made ahead of time, or at no time', async () => {
      for (const iat of [ago(-120), ago(-3_600), undefined, 'now', null, 1e300]) {
        await refuses(await proof({ claims: { iat } }));
      }
    });

    it('DPOP-06: without a jti, or with one that is no text', async () => {
      for (const jti of [undefined, '', 7, ['a'], null]) await refuses(await proof({ claims: { jti } }));
    });

    it('DPOP-08: that nobody signed (alg none)', async () => {
      const [, payload] = (await proof()).split('.');
      const header = { alg: 'none', typ: 'dpop+jwt', jwk: key.jwk };
      await refuses(`${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.`);
    });

    it('that is signed with a shared secret, the public key as one included', async () => {
      const [, payload] = (await proof()).split('.');
      const secret = Buffer.from('k'.repeat(32));
      for (const jwk of [{ kty: 'oct', k: secret.toString('base64url') }, key.jwk]) {
        const header = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'dpop+jwt', jwk })).toString('base64url');
        const mac = createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url');
        await refuses(`${header}.${payload}.${mac}`);
      }
    });

    it('DPOP-10: with a private key in its header (CVE-2026-54431)', async () => {
      await refuses(await proof({ header: { jwk: key.privateJwk } }));
    });

    it('DPOP-12: of the type JWT, or of any other than dpop+jwt', async () => {
      for (const typ of ['JWT', 'at+jwt', 'dpop', undefined]) await refuses(await proof({ header: { typ } }));
    });

    it('DPOP-14: with a nonce that this server never gave', async () => {
      const answer = await ask(await proof({ claims: { nonce: 'bogus' } }));
      assert.deepEqual([answer.status, answer.body['error']], [400, 'use_dpop_nonce']);
      assert.match(answer.headers.get('dpop-nonce') ?? '', /^[\w-]{43}$/);
    });

    it('with a nonce that is no text', async () => {
      for (const nonce of [7, { a: 1 }, ['a']]) await refuses(await proof({ claims: { nonce } }));
    });

    it('DPOP-16: that comes with a second one, be it the same or an empty one', async () => {
      const one = await proof();
      for (const other of [one, await proof(), '']) {
        const { client_id, client_secret } = client;
        const asked = request(`${gatehouse.url}/token`, {
          method: 'POST',
          headers: {
            authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`,
            'content-type': 'application/x-www-form-urlencoded',
            DPoP: [one, other],
          },
        });
        asked.end('grant_type=client_credentials');
        const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
        const { error } = (await json(response)) as { error?: string };
        assert.deepEqual([response.statusCode, error], [400, 'invalid_dpop_proof']);
      }
    });

    it('that somebody else signed, or that was changed since', async () => {
      const other = await makeProofKey();
      await refuses(await proof({ signer: other.privateKey }));
      const [header, , signature] = (await proof()).split('.');
      const [, payload] = (await proof()).split('.');
      await refuses(`${header}.${payload}.${signature}`);
    });

    it('with a key of a kind that the metadata does not name', async () => {
      for (const alg of ['RS256', 'ES384']) await refuses(await prove(await makeProofKey(alg), ['POST', tokenUrl()]));
    });

    it('without a key, or that only says where the key is', async () => {
      for (const jwk of [undefined, null, {}, 'x']) await refuses(await proof({ header: { jwk } }));
      await refuses(await proof({ header: { jwk: undefined, jku: 'http://127.0.0.1:1/jwks', kid: 'a' } }));
    });

    it('that is no JWT at all', async () => {
      for (const text of ['x', 'a.b.c', '..', `${'e30.'.repeat(100)}e30`, '{}', 'e30.e30.e30']) await refuses(text);
    });
  });

  describe('takes a proof once:', () => {
    const errorsOf = (answers: readonly Answer[]): unknown[] => answers.map(({ body }) => body['error']);

    it('not again on this node, and the audit trail says so', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      await refuses(single);
      const { event, client_id } = await gatehouse.database
        .selectFrom('audit_events')
        .selectAll()
        .where('event', '=', 'dpop_proof.replayed')
        .executeTakeFirstOrThrow();
      assert.deepEqual([event, client_id], ['dpop_proof.replayed', client.client_id]);
    });

    it('not on another node', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      const again = await ask(single, {}, { node: second });
      assert.deepEqual([again.status, again.body['error']], [400, 'invalid_dpop_proof']);
    });

    it('of twelve requests at once on two nodes one wins', async () => {
      const single = await proof();
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, index) => ask(single, {}, { node: index % 2 === 0 ? gatehouse : second })),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      assert.deepEqual(new Set(errorsOf(answers)), new Set([undefined, 'invalid_dpop_proof']));
    });

    it('not from another client, who saw it on its way', async () => {
      const single = await proof();
      assert.equal((await ask(single)).status, 200);
      const thief = await registerClient(gatehouse);
      assert.deepEqual(errorsOf([await ask(single, {}, { who: thief })]), ['invalid_dpop_proof']);
    });

    it('for as long as it would be fresh, also one from a clock that is ahead', async () => {
      const early = await proof({ claims: { iat: ago(-50) } });
      assert.equal((await ask(early)).status, 200);
      moveClock(345);
      await removeExpiredRows(gatehouse.database, new Date());
      const { body } = await ask(early);
      assert.equal(body['error_description'], 'the DPoP proof was used already');
    });

    it('and the same jti under another key is another proof', async () => {
      const jti = randomUUID();
      assert.equal((await ask(await proof({ claims: { jti } }))).status, 200);
      assert.equal((await ask(await proof({ claims: { jti } }, await makeProofKey()))).status, 200);
    });

    it('and so is a client assertion that happens to have its jti', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ES256');
      const { client_id } = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [await exportJWK(publicKey)] },
      });
      const jti = randomUUID();
      const client_assertion = await new SignJWT({ jti, iss: client_id, sub: client_id, aud: gatehouse.issuer })
        .setProtectedHeader({ alg: 'ES256' })
        .setExpirationTime('1m')
        .sign(privateKey);
      const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
      const form = { grant_type: 'client_credentials', client_assertion, client_assertion_type };
      const present = async (): Promise<Answer> =>
        read(await postForm(tokenUrl(), form, undefined, { DPoP: await proof({ claims: { jti } }) }));
      assert.equal((await present()).body['token_type'], 'DPoP');
      // the assertion is what came again now
      assert.deepEqual([(await present()).status], [401]);
    });

    it('and a request that failed for another reason does not use it up', async () => {
      const single = await proof();
      assert.equal((await ask(single, { scope: 'notes:everything' })).body['error'], 'invalid_scope');
      assert.equal((await ask(single)).status, 200);
    });
  });

  describe('a client with dpop_bound_access_tokens', () => {
    it('gets no token without a proof', async () => {
      await refuses(undefined);
      await refuses('');
    });

    it('can still redeem its code with a proof after it forgot one', async () => {
      const application = await registerApplication(gatehouse, { dpop_bound_access_tokens: true });
      const form = codeForm(await requestCode(gatehouse, application));
      const forgotten = await ask(undefined, form, { who: application });
      assert.deepEqual([forgotten.status, forgotten.body['error']], [400, 'invalid_dpop_proof']);
      const { refresh_token } = (await ask(await proof(), form, { who: application })).body;
      const refresh = { grant_type: 'refresh_token', refresh_token: String(refresh_token) };
      assert.equal((await ask(undefined, refresh, { who: application })).body['error'], 'invalid_dpop_proof');
      assert.equal((await ask(await proof(), refresh, { who: application })).status, 200);
    });

    it('is made by the admin API, which takes true and false and nothing else', async () => {
      const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read'] }];
      const wrong = await gatehouse.adminCall('POST', '/clients', { resources, dpop_bound_access_tokens: 'yes' });
      assert.equal(wrong.status, 400);
      const made = await gatehouse.adminCall('POST', '/clients', { resources, dpop_bound_access_tokens: true });
      const its = (await made.json()) as RegisteredClient & { dpop_bound_access_tokens: boolean };
      assert.equal(its.dpop_bound_access_tokens, true);
      assert.equal((await ask(undefined, {}, { who: its })).body['error'], 'invalid_dpop_proof');
      const freed = await gatehouse.adminCall(
        'PATCH',
        `/clients/${its.client_id}`,
        { dpop_bound_access_tokens: false },
        { 'if-match': '*' },
      );
      assert.equal(freed.status, 200);
      assert.equal((await ask(undefined, {}, { who: its })).body['token_type'], 'Bearer');
    });
  });

  describe('a code that was asked for with dpop_jkt (RFC 9449, 10)', () => {
    const boundCode = async (): Promise<Record<string, string>> =>
      codeForm(await requestCode(gatehouse, spa, { parameters: { dpop_jkt: key.thumbprint } }));

    it('is worth nothing with another key', async () => {
      const answer = await ask(await proof({}, await makeProofKey()), await boundCode(), { who: spa });
      assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_grant']);
    });

    it('waits for its key when somebody tries without a proof', async () => {
      const form = await boundCode();
      const stolen = await ask(undefined, form, { who: spa });
      assert.deepEqual([stolen.status, stolen.body['error']], [400, 'invalid_dpop_proof']);
      assert.equal((await ask(await proof(), form, { who: spa })).body['token_type'], 'DPoP');
    });

    it('tells another client nothing about that', async () => {
      const other = await registerPublicApplication(gatehouse);
      assert.equal((await ask(undefined, await boundCode(), { who: other })).body['error'], 'invalid_grant');
    });
  });

  describe('the refresh token of a public client', () => {
    it('DPOP-22: is bound to the key: neither another key nor none renews it, and its owner still can', async () => {
      const { refresh_token } = await boundTokens();
      const form = { grant_type: 'refresh_token', refresh_token };
      const foreign = await ask(await proof({}, await makeProofKey()), form, { who: spa });
      assert.deepEqual([foreign.status, foreign.body['error']], [400, 'invalid_grant']);
      const unproved = await ask(undefined, form, { who: spa });
      assert.deepEqual([unproved.status, unproved.body['error']], [400, 'invalid_dpop_proof']);

      const renewed = await ask(await proof(), form, { who: spa });
      assert.equal(renewed.body['token_type'], 'DPoP');
      const next = { grant_type: 'refresh_token', refresh_token: String(renewed.body['refresh_token']) };
      const later = await ask(await proof({}, await makeProofKey()), next, { who: spa });
      assert.equal(later.body['error'], 'invalid_grant');
    });
  });

  describe('a bound token at userinfo', () => {
    const userinfoUrl = (): string => `${gatehouse.issuer}/userinfo`;
    const userinfo = async (authorization: string, dpop?: string): Promise<Answer> =>
      read(await fetch(userinfoUrl(), { headers: { authorization, ...(dpop !== undefined && { DPoP: dpop }) } }));
    const proofFor = (token: string, parts: ProofParts = {}, by = key): Promise<string> =>
      prove(by, ['GET', userinfoUrl()], { ...parts, claims: { ath: athOf(token), ...parts.claims } });

    it('answers to its key, once a proof', async () => {
      const { access_token } = await boundTokens();
      const single = await proofFor(access_token);
      const answer = await userinfo(`DPoP ${access_token}`, single);
      assert.equal(answer.status, 200);
      assert.match(String(answer.body['sub']), /^account_/);
      const again = await userinfo(`DPoP ${access_token}`, single);
      assert.deepEqual([again.status, again.body['error']], [401, 'invalid_dpop_proof']);
      assert.match(again.headers.get('www-authenticate') ?? '', /^DPoP .*error="invalid_dpop_proof".*algs="ES256/);
    });

    it('DPOP-18: is refused as a bearer token (CVE-2024-49755)', async () => {
      const { access_token } = await boundTokens();
      assert.equal((await userinfo(`Bearer ${access_token}`)).status, 401);
      assert.equal([400, 401].includes((await userinfo(`DPoP ${access_token}`)).status), true);
      const mixed = await userinfo(`Bearer ${access_token}`, await proofFor(access_token));
      assert.equal([400, 401].includes(mixed.status), true);
    });

    it('DPOP-20: is refused with a proof that does not name it (ath)', async () => {
      const { access_token } = await boundTokens();
      for (const ath of [undefined, athOf('another token'), access_token]) {
        const answer = await userinfo(`DPoP ${access_token}`, await proofFor(access_token, { claims: { ath } }));
        assert.deepEqual([answer.status, answer.body['error']], [401, 'invalid_dpop_proof']);
      }
    });

    it('is refused with another key, and with a proof for the token endpoint', async () => {
      const { access_token } = await boundTokens();
      const foreign = await userinfo(`DPoP ${access_token}`, await proofFor(access_token, {}, await makeProofKey()));
      assert.equal(foreign.status, 401);
      const elsewhere = await proofFor(access_token, { claims: { htu: tokenUrl() } });
      assert.equal((await userinfo(`DPoP ${access_token}`, elsewhere)).status, 401);
    });

    it('is refused with an old proof that has a valid nonce', async () => {
      const { access_token } = await boundTokens();
      const first = await userinfo(`DPoP ${access_token}`, await proofFor(access_token));
      const nonce = first.headers.get('dpop-nonce')!;
      const old = await proofFor(access_token, { claims: { nonce, iat: ago(360) } });
      assert.equal((await userinfo(`DPoP ${access_token}`, old)).status, 401);
    });

    it('does not become one by presenting a bearer token with a proof', async () => {
      const { body } = await ask(undefined, codeForm(await requestCode(gatehouse, spa)), { who: spa });
      const bearer = String(body['access_token']);
      assert.equal(body['token_type'], 'Bearer');
      assert.equal((await userinfo(`DPoP ${bearer}`, await proofFor(bearer))).status, 401);
      assert.equal((await userinfo(`Bearer ${bearer}`)).status, 200);
    });
  });

  it('shows the key of an opaque token at introspection too', async () => {
    const application = await registerApplication(gatehouse);
    const form = codeForm(await requestCode(gatehouse, application));
    const { body } = await ask(await proof(), form, { who: application });
    const token = String(body['access_token']);
    const told = await read(await postForm(`${gatehouse.url}/introspect`, { token }, application));
    assert.deepEqual([told.body['active'], told.body['token_type']], [true, 'DPoP']);
    assert.deepEqual(told.body['cnf'], { jkt: key.thumbprint });
  });

  it('opens nothing at the admin API, which takes plain bearer tokens only', async () => {
    const { body } = await ask(await proof(), { scope: 'clients:read' }, { who: gatehouse.admin });
    assert.equal(body['token_type'], 'DPoP');
    for (const scheme of ['Bearer', 'DPoP']) {
      const headers = { authorization: `${scheme} ${String(body['access_token'])}` };
      const answer = await fetch(`${gatehouse.url}/admin/v1/clients`, { headers });
      await answer.body?.cancel();
      assert.equal(answer.status, 401);
    }
  });

  it('lets the pages of a public client read the nonce (CORS)', async () => {
    const callback = await requestCode(gatehouse, spa);
    const form = { ...codeForm(callback), client_id: spa.client_id };
    const headers = { DPoP: await proof(), origin: new URL(REDIRECT_URI).origin };
    const answer = await read(await postForm(tokenUrl(), form, undefined, headers));
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('access-control-expose-headers') ?? '', /DPoP-Nonce/);
  });

  it('leaves a client that brings no proof alone: a bearer token, without a read or a write but the audit event', async () => {
    // through the admin API: when it answers, the node has heard of the change and won't drop the client again
    const { resource, scope } = gatehouse.demo;
    const resources = [{ resource, scopes: scope.split(' ') }];
    const registered = await gatehouse.adminCall('POST', '/clients', {
      grant_types: ['client_credentials'],
      resources,
    });
    const plain = (await registered.json()) as { client_id: string; client_secret: string };
    await requestToken(gatehouse.url, plain);
    const tables = await sql<{ name: string }>`select table_name as name from information_schema.tables
      where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not like 'audit\\_%'`.execute(
      gatehouse.database,
    );
    assert.equal(tables.rows.length > 10, true);
    const inTime = async (milliseconds: number, headers: Record<string, string> = {}): Promise<Response> => {
      const authorization = `Basic ${Buffer.from(`${plain.client_id}:${plain.client_secret}`).toString('base64')}`;
      return fetch(`${gatehouse.url}/token`, {
        method: 'POST',
        headers: { authorization, ...headers },
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
        signal: AbortSignal.timeout(milliseconds),
      });
    };
    await gatehouse.database.transaction().execute(async (tx) => {
      const names = sql.join(tables.rows.map(({ name }) => sql.table(name)));
      await sql`lock table ${names} in access exclusive mode`.execute(tx);
      const { body } = await read(await inTime(4_000));
      assert.equal(body['token_type'], 'Bearer');
      assert.equal(decodeJwt(String(body['access_token']))['cnf'], undefined);
      // a proof is remembered, so this one has to wait: the tables are closed indeed
      await assert.rejects(inTime(700, { DPoP: await proof() }), { name: 'TimeoutError' });
    });
  });
});
