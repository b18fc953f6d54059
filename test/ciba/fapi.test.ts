import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWK } from 'jose';
import * as openid from 'openid-client';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { decide, registerTill, type Asked } from '../support/client/backchannel.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

type Members = Readonly<Record<string, unknown>>;

interface Keys {
  readonly key: CryptoKey;
  readonly jwk: JWK;
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

const HOUR = 3_600;

/** Clients as the FAPI profile of CIBA wants them: each signs its requests and its assertions, with ES256 alone. */
describe('backchannel authentication by clients that sign all they say (FAPI-CIBA)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let other: RegisteredClient;
  let keys: Keys;
  let othersKeys: Keys;
  before(async () => {
    gatehouse = await startGatehouse();
    keys = await makeKeys('ES256');
    othersKeys = await makeKeys('ES256');
    client = await register([keys.jwk]);
    other = await register([othersKeys.jwk]);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const register = (jwks: readonly JWK[]): Promise<RegisteredClient> =>
    registerTill(gatehouse, {
      grant_types: [CIBA, 'refresh_token'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      backchannel_authentication_request_signing_alg: 'ES256',
      jwks: { keys: jwks },
    });
  const now = (): number => Math.floor(Date.now() / 1000);

  /** What a client says of its request; members that are `undefined` are left out. */
  const claimsOf = (changed: Members = {}): Record<string, unknown> =>
    JSON.parse(
      JSON.stringify({
        aud: gatehouse.issuer,
        iss: client.client_id,
        exp: now() + 300,
        iat: now(),
        nbf: now(),
        jti: randomUUID(),
        scope: 'openid',
        login_hint: gatehouse.account.email,
        ...changed,
      }),
    ) as Record<string, unknown>;
  const signed = (claims: Members = {}, signer = keys.key, alg = 'ES256'): Promise<string> =>
    new SignJWT(claimsOf(claims)).setProtectedHeader({ alg }).sign(signer);
  const assertionOf = (who = client, signer = keys.key, alg = 'ES256'): Promise<string> =>
    new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg })
      .setIssuer(who.client_id)
      .setSubject(who.client_id)
      .setAudience(gatehouse.issuer)
      .setIssuedAt()
      .setExpirationTime('1 min')
      .sign(signer);
  const send = async (path: string, form: Readonly<Record<string, string>>, assertion?: string): Promise<Answer> => {
    const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
    const proof = assertion === undefined ? {} : { client_assertion_type, client_assertion: assertion };
    const response = await postForm(`${gatehouse.url}${path}`, { ...form, ...proof });
    return { status: response.status, body: (await response.json()) as Members };
  };
  const ask = async (request: string): Promise<Answer> =>
    send('/backchannel_authentication', { request }, await assertionOf());
  const asked = async (claims: Members = {}): Promise<Asked> => {
    const { status, body } = await ask(await signed(claims));
    assert.equal(status, 200, JSON.stringify(body));
    return body as unknown as Asked;
  };
  const poll = async ({ auth_req_id }: Pick<Asked, 'auth_req_id'>, assertion?: string): Promise<Answer> =>
    send('/token', { grant_type: CIBA, auth_req_id }, assertion ?? (await assertionOf()));
  const refuses = async (request: string, error = 'invalid_request'): Promise<void> => {
    const { status, body } = await ask(request);
    assert.deepEqual([status, body['error']], [400, error], JSON.stringify(body));
    assert.equal(typeof body['error_description'], 'string');
  };

  it('gives them tokens: asked with a signed request, approved, polled for with an assertion (fapi-ciba-id1)', async () => {
    const config = await configure(
      gatehouse,
      client,
      openid.PrivateKeyJwt(keys.key, {
        [openid.modifyAssertion]: (_, payload) => void (payload['aud'] = gatehouse.issuer),
      }),
    );
    const request = await signed({ scope: 'openid notes:read', resource: gatehouse.demo.resource });
    const answer = await openid.initiateBackchannelAuthentication(config, { request });
    assert.equal(answer.auth_req_id.length >= 22, true, '128 bits of chance or more (CIBA, 7.3)');
    const polling = openid.pollBackchannelAuthenticationGrant(config, answer);
    await decide(gatehouse, answer, 'approve');
    const tokens = await polling;
    assert.equal(tokens.scope, 'notes:read');
    assert.equal(decodeJwt(tokens.access_token)['scope'], 'notes:read');
    assert.equal(tokens.claims()?.aud, client.client_id);
  });

  it('says in its discovery document what it takes (fapi-ciba-id1-discovery-end-point-verification)', async () => {
    const response = await fetch(`${gatehouse.issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as Record<string, string | string[] | boolean>;
    const endpoint = 'backchannel_authentication_endpoint';
    assert.equal(metadata[endpoint], `${gatehouse.issuer}/backchannel_authentication`);
    assert.deepEqual(metadata['backchannel_token_delivery_modes_supported'], ['poll', 'ping']);
    assert.equal(metadata['backchannel_user_code_parameter_supported'], false);
    assert.ok((metadata['grant_types_supported'] as string[]).includes(CIBA));
    assert.ok((metadata['token_endpoint_auth_methods_supported'] as string[]).includes('private_key_jwt'));
    const algs = metadata['backchannel_authentication_request_signing_alg_values_supported'] as string[];
    assert.ok(algs.includes('ES256') && algs.includes('PS256'));
    assert.equal(algs.includes('none'), false);
  });

  it('tells them that the person said no (fapi-ciba-id1-user-rejects-authentication)', async () => {
    const answer = await asked();
    await decide(gatehouse, answer, 'deny');
    const { status, body } = await poll(answer);
    assert.deepEqual([status, body['error']], [400, 'access_denied']);
  });

  it('slows them down when they call again and again, and then answers (fapi-ciba-id1-multiple-call-to-token-endpoint)', async () => {
    const answer = await asked();
    const errors: unknown[] = [];
    for (let i = 0; i < 3; i++) errors.push((await poll(answer)).body['error']);
    assert.deepEqual(errors, ['authorization_pending', 'slow_down', 'slow_down']);
    await decide(gatehouse, answer, 'approve');
    assert.equal((await poll(answer)).status, 200);
  });

  it('gives nothing for a request that is over (fapi-ciba-id1-auth-req-id-expired)', async () => {
    const answer = await asked({ requested_expiry: 30 });
    assert.equal(answer.expires_in, 30);
    moveClock(50);
    const { status, body } = await poll(answer);
    assert.deepEqual([status, body['error']], [400, 'expired_token']);
  });

  it('takes a binding message (fapi-ciba-id1-ensure-authorization-request-with-binding-message-succeeds)', async () => {
    const answer = await asked({ binding_message: '1234' });
    const { page } = await decide(gatehouse, answer, 'approve');
    assert.match(page, /You have approved/);
    assert.equal((await poll(answer)).status, 200);
  });

  it('refuses one that is too long for a screen (fapi-ciba-id1-ensure-authorization-request-with-potentially-bad-binding-message)', async () => {
    await refuses(await signed({ binding_message: '1234 '.repeat(300) }), 'invalid_binding_message');
    await refuses(await signed({ binding_message: 'line\u2028line' }), 'invalid_binding_message');
  });

  it('takes scopes in any order (fapi-ciba-id1-ensure-other-scope-order-succeeds)', async () => {
    const answer = await asked({ scope: 'email openid' });
    await decide(gatehouse, answer, 'approve');
    const { body } = await poll(answer);
    assert.equal(decodeJwt(String(body['id_token']))['email'], gatehouse.account.email);
  });

  it('reads requested_expiry in quotes too (fapi-ciba-id1-ensure-requested-expiry-as-string-succeeds)', async () => {
    assert.equal((await asked({ requested_expiry: '30' })).expires_in, 30);
  });

  const stranger = 'https://stranger.example';
  const bad: readonly [what: string, module: string, claims: (seconds: number) => Members][] = [
    ['without an audience', 'fapi-ciba-id1-ensure-request-object-missing-aud-fails', () => ({ aud: undefined })],
    ['for another server', 'fapi-ciba-id1-ensure-request-object-bad-aud-fails', () => ({ aud: stranger })],
    ['without an issuer', 'fapi-ciba-id1-ensure-request-object-missing-iss-fails', () => ({ iss: undefined })],
    ['of another issuer', 'fapi-ciba-id1-ensure-request-object-bad-iss-fails', () => ({ iss: stranger })],
    ['without an end', 'fapi-ciba-id1-ensure-request-object-missing-exp-fails', () => ({ exp: undefined })],
    ['that is over', 'fapi-ciba-id1-ensure-request-object-expired-exp-fails', (seconds) => ({ exp: seconds - 300 })],
    [
      'that would be good for more than an hour',
      'fapi-ciba-id1-ensure-request-object-exp-is-70-minutes-in-future-fails',
      (s) => ({ exp: s + HOUR + 600 }),
    ],
    [
      'that does not say when it was made',
      'fapi-ciba-id1-ensure-request-object-missing-iat-fails',
      () => ({ iat: undefined }),
    ],
    [
      'that does not say since when it is good',
      'fapi-ciba-id1-ensure-request-object-missing-nbf-fails',
      () => ({ nbf: undefined }),
    ],
    [
      'that is not good yet',
      'fapi-ciba-id1-ensure-request-object-nbf-is-10-minutes-in-future-fails',
      (seconds) => ({ nbf: seconds + 600 }),
    ],
    [
      'that lay around for more than an hour',
      'fapi-ciba-id1-ensure-request-object-nbf-is-70-minutes-in-past-fails',
      (s) => ({ nbf: s - HOUR - 600 }),
    ],
    ['without a name of its own', 'fapi-ciba-id1-ensure-request-object-missing-jti-fails', () => ({ jti: undefined })],
  ];
  for (const [what, module, claims] of bad) {
    it(`refuses a request ${what} (${module})`, async () => {
      await refuses(await signed(claims(now())));
    });
  }

  it('takes a request once, on any page of the log', async () => {
    const request = await signed();
    assert.equal((await ask(request)).status, 200);
    await refuses(request);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('client_id')
      .where('event', '=', 'request_object.replayed')
      .execute();
    assert.deepEqual(events, [{ client_id: client.client_id }]);
  });

  it('refuses a request without a signature (fapi-ciba-id1-ensure-request-object-signature-algorithm-is-none-fails)', async () => {
    await refuses(new UnsecuredJWT(claimsOf()).encode());
  });

  it('refuses a signature that does not fit (fapi-ciba-id1-ensure-request-object-signature-algorithm-is-bad-fails)', async () => {
    const request = await signed();
    await refuses(request.replace(/[^.]+$/, 'A'.repeat(86)));
    const { key } = await makeKeys('ES384');
    await refuses(await signed({}, key, 'ES384'));
  });

  it('refuses RS256 even with a key of the client (fapi-ciba-id1-ensure-request-object-signature-algorithm-is-RS256-fails)', async () => {
    const rsa = await makeKeys('RS256');
    const both = await register([keys.jwk, rsa.jwk]);
    const request = await signed({ iss: both.client_id }, rsa.key, 'RS256');
    const form = { request };
    const refused = await send('/backchannel_authentication', form, await assertionOf(both));
    assert.deepEqual([refused.status, refused.body['error']], [400, 'invalid_request']);
    const good = { request: await signed({ iss: both.client_id }) };
    assert.equal((await send('/backchannel_authentication', good, await assertionOf(both))).status, 200);
  });

  it('refuses what another client signed (fapi-ciba-id1-ensure-request-object-signed-by-other-client-fails)', async () => {
    await refuses(await signed({}, othersKeys.key));
  });

  it('refuses two hints (fapi-ciba-id1-ensure-authorization-request-with-multiple-hints-fails)', async () => {
    const { status, body } = await ask(await signed({ id_token_hint: 'e30.e30.e30' }));
    assert.deepEqual([status, body['error']], [400, 'invalid_request']);
    assert.match(String(body['error_description']), /^only one of/);
  });

  it('gives nothing for an auth_req_id that it did not make (fapi-ciba-id1-ensure-wrong-auth-req-id-in-token-endpoint-request)', async () => {
    const { auth_req_id } = await asked();
    const { status, body } = await poll({
      auth_req_id: `${auth_req_id.slice(0, -1)}${auth_req_id.endsWith('A') ? 'B' : 'A'}`,
    });
    assert.deepEqual([status, body['error']], [400, 'invalid_grant']);
  });

  it('refuses a request whose client is not its issuer (fapi-ciba-id1-ensure-different-client-id-and-issuer-in-backchannel-authorization-request)', async () => {
    await refuses(await signed({ client_id: other.client_id }));
    await refuses(await signed({ client_id: client.client_id, iss: other.client_id }));
  });

  it('knows who polls by the assertion alone (fapi-ciba-id1-ensure-wrong-client-id-in-token-endpoint-request)', async () => {
    const answer = await asked();
    await decide(gatehouse, answer, 'approve');
    const form = { grant_type: CIBA, auth_req_id: answer.auth_req_id };
    const foreign = await send('/token', { ...form, client_id: other.client_id }, await assertionOf());
    assert.equal(foreign.status === 400 || foreign.status === 401, true);
    assert.match(String(foreign.body['error']), /^invalid_(client|request)$/);
    const thief = await poll(answer, await assertionOf(other, othersKeys.key));
    assert.deepEqual([thief.status, thief.body['error']], [400, 'invalid_grant']);
    assert.equal((await poll(answer)).status, 200);
  });

  it('knows who asks by the assertion alone (fapi-ciba-id1-ensure-wrong-client-id-in-backchannel-authorization-request)', async () => {
    const form = { request: await signed(), client_id: other.client_id };
    const { status, body } = await send('/backchannel_authentication', form, await assertionOf());
    assert.equal(status === 400 || status === 401, true);
    assert.match(String(body['error']), /^invalid_(client|request)$/);
  });

  it('gives nothing without an assertion (fapi-ciba-id1-ensure-without-client-assertion-in-token-endpoint-request)', async () => {
    const answer = await asked();
    await decide(gatehouse, answer, 'approve');
    const form = { grant_type: CIBA, auth_req_id: answer.auth_req_id, client_id: client.client_id };
    const { status, body } = await send('/token', form);
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
  });

  it('asks no person without an assertion (fapi-ciba-id1-ensure-without-client-assertion-in-backchannel-authorization-request)', async () => {
    const form = { request: await signed(), client_id: client.client_id };
    const { status, body } = await send('/backchannel_authentication', form);
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
  });

  it('refuses assertions with RS256 to ask (fapi-ciba-id1-ensure-client-assertion-signature-algorithm-in-backchannel-authorization-request-is-RS256-fails)', async () => {
    const rsa = await makeKeys('RS256');
    const both = await register([keys.jwk, rsa.jwk]);
    const form = { request: await signed({ iss: both.client_id }) };
    const { status, body } = await send('/backchannel_authentication', form, await assertionOf(both, rsa.key, 'RS256'));
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
  });

  it('refuses assertions with RS256 to poll (fapi-ciba-id1-ensure-client-assertion-signature-algorithm-in-token-endpoint-request-is-RS256-fails)', async () => {
    const rsa = await makeKeys('RS256');
    const both = await register([keys.jwk, rsa.jwk]);
    const form = { request: await signed({ iss: both.client_id }) };
    const { body: answer } = await send('/backchannel_authentication', form, await assertionOf(both));
    const polled = { auth_req_id: String(answer['auth_req_id']) };
    const { status, body } = await poll(polled, await assertionOf(both, rsa.key, 'RS256'));
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
    assert.equal((await poll(polled, await assertionOf(both))).body['error'], 'authorization_pending');
  });

  it('takes an assertion for its issuer at the token endpoint (fapi-ciba-id1-ensure-client-assertion-with-iss-aud-to-token-endpoint-succeeds)', async () => {
    const answer = await asked();
    await decide(gatehouse, answer, 'approve');
    const assertion = await assertionOf();
    assert.equal(decodeJwt(assertion).aud, gatehouse.issuer);
    assert.equal((await poll(answer, assertion)).status, 200);
  });

  it('refuses a request that is not signed at all (fapi-ciba-id1-ensure-unsigned-backchannel-authorization-request-fails)', async () => {
    const form = { scope: 'openid', login_hint: gatehouse.account.email };
    const { status, body } = await send('/backchannel_authentication', form, await assertionOf());
    assert.deepEqual([status, body['error']], [400, 'invalid_request']);
  });

  it('lets nothing be added to what was signed', async () => {
    const request = await signed({ binding_message: 'signed' });
    const form = { request, scope: 'openid email', binding_message: 'added', requested_expiry: '1' };
    const { body } = await send('/backchannel_authentication', form, await assertionOf());
    assert.equal(body['expires_in'], 600);
    const stored = await gatehouse.database
      .selectFrom('backchannel_requests')
      .select(['binding_message', 'payload'])
      .orderBy('created_at', 'desc')
      .executeTakeFirstOrThrow();
    assert.equal(stored.binding_message, 'signed');
    assert.equal(stored.payload['scope'], 'openid');
  });

  it('renews their tokens, for them alone (fapi-ciba-id1-refresh-token)', async () => {
    const answer = await asked();
    await decide(gatehouse, answer, 'approve');
    const { body } = await poll(answer);
    const form = { grant_type: 'refresh_token', refresh_token: String(body['refresh_token']) };
    const stolen = await send('/token', form, await assertionOf(other, othersKeys.key));
    assert.deepEqual([stolen.status, stolen.body['error']], [400, 'invalid_grant']);
    const renewed = await send('/token', form, await assertionOf());
    assert.equal(renewed.status, 200);
    assert.equal(decodeJwt(String(renewed.body['id_token'])).sub, decodeJwt(String(body['id_token'])).sub);
  });
});

async function makeKeys(alg: string): Promise<Keys> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { key: privateKey, jwk: { ...(await exportJWK(publicKey)), alg, use: 'sig' } };
}
