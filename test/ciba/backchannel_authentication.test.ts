import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import * as openid from 'openid-client';
import { sha256 } from '../../src/base/secret.ts';
import { ClientMetadata } from '../../src/clients/metadata/client_metadata.ts';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { ask, askRaw, decide, pageOf, poll, registerTill } from '../support/client/backchannel.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure } from '../support/client/code_flow.ts';
import { post } from '../support/person/device_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('backchannel authentication (CIBA)', () => {
  let gatehouse: Gatehouse;
  let till: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    till = await registerTill(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('gives tokens to openid-client, which asks and polls, once the person has approved on their page', async () => {
    const config = await configure(gatehouse, till);
    const answer = await openid.initiateBackchannelAuthentication(config, {
      scope: 'openid email',
      login_hint: gatehouse.account.email,
      binding_message: 'Till 4, 12.50 €',
    });
    assert.deepEqual([answer.expires_in, answer.interval], [600, 5]);
    const polling = openid.pollBackchannelAuthenticationGrant(config, answer);
    const { page, response } = await decide(gatehouse, answer, 'approve');
    assert.match(page, /You have approved the request/);
    assert.equal(response.status, 200);
    const tokens = await polling;
    assert.equal(tokens.claims()?.['email'], gatehouse.account.email);
    assert.equal(tokens.refresh_token, undefined);
    const claims = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.equal(claims.email, gatehouse.account.email);
  });

  it('gives a token for the API that was asked for, and a refresh token to who is registered for them', async () => {
    const shop = await registerTill(gatehouse, { grant_types: [CIBA, 'refresh_token'] });
    const { resource } = gatehouse.demo;
    const asked = await ask(gatehouse, shop, { scope: 'openid notes:read', resource });
    await decide(gatehouse, asked, 'approve');
    const tokens = await poll(gatehouse, shop, asked);
    assert.equal(tokens.status, 200);
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { payload } = await jwtVerify(tokens.access_token!, jwks, { audience: resource, typ: 'at+jwt' });
    assert.equal(payload['scope'], 'notes:read');
    const renewing = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! };
    const renewed = await post(`${gatehouse.url}/token`, shop, renewing);
    assert.equal(renewed.status, 200);
  });

  it('says in the ID token when the person who approved had logged in', async () => {
    const asked = await ask(gatehouse, till, { nonce: 'a-nonce', max_age: '600' });
    const began = Math.floor(Date.now() / 1000);
    await decide(gatehouse, asked, 'approve');
    const { id_token } = await poll(gatehouse, till, asked);
    const { auth_time, nonce } = decodeJwt(id_token!);
    assert.equal(nonce, 'a-nonce');
    assert.ok(Number(auth_time) >= began, `logged in at ${String(auth_time)}`);
  });

  it('stays refused once the person has denied', async () => {
    const asked = await ask(gatehouse, till);
    const { page } = await decide(gatehouse, asked, 'deny');
    assert.match(page, /You have denied the request/);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'access_denied']);
      moveClock(6);
    }
  });

  it('expires when the client says, and can then be neither approved nor used', async () => {
    const person = new Person(gatehouse);
    const asked = await ask(gatehouse, till, { requested_expiry: '30' });
    assert.equal(asked.expires_in, 30);
    const page = pageOf(gatehouse, asked);
    const late = await ask(gatehouse, till, { requested_expiry: '30' });
    await decide(gatehouse, late, 'approve', person);
    moveClock(50);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'expired_token']);
    assert.match((await person.open(page)).page, /This request can’t be decided any more/);
    assert.deepEqual(errorOf(await poll(gatehouse, till, late)), [400, 'expired_token']);
  });

  it('is kept until a late poll has heard that it is over, and no longer', async () => {
    const asked = await ask(gatehouse, till, { requested_expiry: '30' });
    const inSeconds = (seconds: number): Date => new Date(Date.now() + seconds * 1_000);
    moveClock(50);
    await removeExpiredRows(gatehouse.database, new Date());
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'expired_token']);
    await removeExpiredRows(gatehouse.database, inSeconds(601));
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'invalid_grant']);
  });

  it('lasts ten minutes at most, however long a client would wait', async () => {
    assert.equal((await ask(gatehouse, till, { requested_expiry: '86400' })).expires_in, 600);
    for (const requested_expiry of ['0', '-1', '1.5', 'soon', '']) {
      const { status } = await askRaw(gatehouse, till, hinted({ requested_expiry }));
      assert.equal(status, requested_expiry === '' ? 200 : 400, `requested_expiry=${requested_expiry}`);
    }
  });

  it('takes times in decimal digits alone (FIELD-E9)', async () => {
    for (const name of ['requested_expiry', 'max_age']) {
      for (const number of ['1e2', '0x10', ' 60', '+60', '60.0']) {
        const { status, body } = await askRaw(gatehouse, till, hinted({ [name]: number }));
        assert.deepEqual([status, body['error']], [400, 'invalid_request'], `${name}=${number}`);
      }
      assert.equal((await askRaw(gatehouse, till, hinted({ [name]: '060' }))).status, 200);
    }
  });

  it('tells a client that polls too fast to slow down, and lets it have a decision without a wait', async () => {
    const asked = await ask(gatehouse, till);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'authorization_pending']);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'slow_down']);
    moveClock(6);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'slow_down'], '10 seconds it was, 15 it is');
    moveClock(9);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'authorization_pending']);
    await decide(gatehouse, asked, 'approve');
    assert.equal((await poll(gatehouse, till, asked)).status, 200);
  });

  it('is used once: the same auth_req_id again ends the tokens that it gave', async () => {
    const asked = await ask(gatehouse, till);
    await decide(gatehouse, asked, 'approve');
    const { access_token } = await poll(gatehouse, till, asked);
    const userinfo = async (): Promise<number> => {
      const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
      await answer.body?.cancel();
      return answer.status;
    };
    assert.equal(await userinfo(), 200);
    moveClock(6);
    assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'invalid_grant']);
    assert.equal(await userinfo(), 401);
    assert.equal((await eventsOf('backchannel_request.reused')).length, 1);
  });

  it('is over when the auth_req_id was used: a poll within the interval gets invalid_grant (FIELD-C12)', async () => {
    const asked = await ask(gatehouse, till);
    await decide(gatehouse, asked, 'approve');
    const { access_token } = await poll(gatehouse, till, asked);
    for (let again = 0; again < 3; again++)
      assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'invalid_grant']);
    assert.equal(await intervalOf(asked), 5);
    // a second poll of the same moment may be a retry, so it does not end the tokens; a later one does
    const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
    assert.equal(answer.status, 200, await answer.text());
  });

  it('is over when it was denied: each poll gets access_denied (FIELD-C12)', async () => {
    const asked = await ask(gatehouse, till);
    await decide(gatehouse, asked, 'deny');
    for (let again = 0; again < 3; again++)
      assert.deepEqual(errorOf(await poll(gatehouse, till, asked)), [400, 'access_denied']);
    assert.equal(await intervalOf(asked), 5);
  });

  it('keeps an auth_req_id for its own client: another one gets the answer for an unknown one (CIBA-04)', async () => {
    const thief = await registerTill(gatehouse);
    const asked = await ask(gatehouse, till);
    await decide(gatehouse, asked, 'approve');
    assert.deepEqual(errorOf(await poll(gatehouse, thief, asked)), [400, 'invalid_grant']);
    assert.deepEqual(errorOf(await poll(gatehouse, thief, { auth_req_id: 'made-up' })), [400, 'invalid_grant']);
    const none = await post(`${gatehouse.url}/token`, till, { grant_type: CIBA });
    assert.equal(((await none.json()) as { error: string }).error, 'invalid_request');
    assert.equal((await poll(gatehouse, till, asked)).status, 200, 'nothing of it counted for its own client');
  });

  it('is for clients that prove themselves and were given the grant type', async () => {
    const other = await registerClient(gatehouse, { grant_types: ['client_credentials'] });
    const unauthorized = await askRaw(gatehouse, other, hinted());
    assert.deepEqual([unauthorized.status, unauthorized.body.error], [400, 'unauthorized_client']);
    assert.deepEqual(errorOf(await poll(gatehouse, other, { auth_req_id: 'made-up' })), [400, 'unauthorized_client']);
    const wrong = await askRaw(gatehouse, { ...till, client_secret: 'x' }, hinted());
    assert.deepEqual([wrong.status, wrong.body.error], [401, 'invalid_client']);
    const form = { ...hinted(), client_id: till.client_id };
    const bare = await postForm(`${gatehouse.url}/backchannel_authentication`, form);
    assert.deepEqual([bare.status, ((await bare.json()) as { error: string }).error], [401, 'invalid_client']);
    const got = await fetch(`${gatehouse.url}/backchannel_authentication?${new URLSearchParams(form)}`);
    assert.deepEqual([got.status, got.headers.get('allow')], [405, 'POST']);
  });

  it('takes numbers that no clock reaches for what they are, and refuses what is none', async () => {
    for (const large of ['9007199254740991', '2147483648']) {
      const { status, body } = await askRaw(gatehouse, till, hinted({ max_age: large, requested_expiry: large }));
      assert.deepEqual([status, body.expires_in], [200, 600]);
    }
    for (const max_age of ['-1', 'soon', '1.5', '9007199254740992', 'Infinity']) {
      const { status, body } = await askRaw(gatehouse, till, hinted({ max_age }));
      assert.deepEqual([status, body.error], [400, 'invalid_request'], max_age);
    }
  });

  it('is about a login: without the scope openid, or with one that the client was not given, no person is asked', async () => {
    const refusals: readonly [parameters: Readonly<Record<string, string>>, error: string][] = [
      [{ scope: 'notes:read' }, 'invalid_request'],
      [{ scope: '' }, 'invalid_request'],
      [{ scope: 'openid notes:delete' }, 'invalid_scope'],
      [{ scope: 'openid notes:read', resource: 'https://other.example' }, 'invalid_target'],
      [{ user_code: '1234' }, 'invalid_request'],
      [{ request_uri: 'https://client.example/request' }, 'request_uri_not_supported'],
    ];
    const asked = (await eventsOf('backchannel_authentication.requested')).length;
    for (const [parameters, error] of refusals) {
      const { status, body } = await askRaw(gatehouse, till, hinted(parameters));
      assert.deepEqual([status, body.error], [400, error], JSON.stringify(parameters));
    }
    assert.equal((await eventsOf('backchannel_authentication.requested')).length, asked);
  });

  it('takes binding messages that a person can read and compare, in any language, and no other', async () => {
    for (const binding_message of [
      '1234',
      'W4SCT',
      'Überweisung: 12,50 € → Müller & Söhne',
      'यह संदेश',
      'x'.repeat(100),
    ]) {
      assert.equal((await askRaw(gatehouse, till, hinted({ binding_message }))).status, 200, binding_message);
    }
    for (const binding_message of [
      '   ',
      'x'.repeat(101),
      'two\nlines',
      'a\0b',
      'pay \u202e1000',
      'a\u200bb',
      '\ue000',
    ]) {
      const { status, body } = await askRaw(gatehouse, till, hinted({ binding_message }));
      assert.deepEqual([status, body.error], [400, 'invalid_binding_message'], JSON.stringify(binding_message));
      assert.equal(JSON.stringify(body).includes(binding_message), false);
    }
  });

  it('leaves a trail: who asked whom for what, and who decided', async () => {
    const shop = await registerTill(gatehouse);
    const asked = await ask(gatehouse, shop, { scope: 'openid notes:read', binding_message: 'Till 4' });
    await decide(gatehouse, asked, 'approve');
    await poll(gatehouse, shop, asked);
    await decide(gatehouse, await ask(gatehouse, shop), 'deny');
    await askRaw(gatehouse, shop, { scope: 'openid', login_hint: 'nobody@example.com' });
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome', 'actor_type', 'account_id', 'details'])
      .where('client_id', '=', shop.client_id)
      .where('event', 'not like', 'client.%')
      .where('event', 'not like', 'secret.%')
      .orderBy('occurred_at')
      .orderBy('sequence')
      .execute();
    const told = events.map(({ event, actor_type, account_id }) => [event, actor_type, account_id !== null]);
    assert.deepEqual(told, [
      ['backchannel_authentication.requested', 'client', true],
      ['backchannel_authentication.approved', 'account', true],
      ['token.issued', 'client', true],
      ['backchannel_authentication.requested', 'client', true],
      ['backchannel_authentication.denied', 'account', true],
      ['authorization.refused', 'client', false],
    ]);
    const [requested, approved] = events;
    const both = [gatehouse.demo.resource, `${gatehouse.issuer}/userinfo`];
    assert.deepEqual(requested!.details['resources'], both);
    assert.equal(requested!.details['request'], approved!.details['request']);
    assert.deepEqual(approved!.details['scopes'], ['openid', 'notes:read']);
    assert.equal(events[5]!.details['error'], 'unknown_user_id');
    assert.equal(JSON.stringify(events).includes(asked.auth_req_id), false);
  });

  const hinted = (parameters: Readonly<Record<string, string>> = {}): Record<string, string> => ({
    scope: 'openid',
    login_hint: gatehouse.account.email,
    ...parameters,
  });

  async function intervalOf({ auth_req_id }: { readonly auth_req_id: string }): Promise<number> {
    const { interval_seconds } = await gatehouse.database
      .selectFrom('backchannel_requests')
      .select('interval_seconds')
      .where('auth_req_id', '=', sha256(auth_req_id))
      .executeTakeFirstOrThrow();
    return interval_seconds;
  }

  function eventsOf(event: string) {
    return gatehouse.database.selectFrom('audit_events').selectAll().where('event', '=', event).execute();
  }
});

describe('a client for backchannel authentication', () => {
  const problems = (metadata: Readonly<Record<string, unknown>>): string[] => {
    const parsed = ClientMetadata.safeParse(metadata);
    return parsed.success ? [] : parsed.error.issues.map(({ path }) => path.join('.'));
  };
  const polling = { grant_types: [CIBA], backchannel_token_delivery_mode: 'poll' };
  const endpoint = { backchannel_client_notification_endpoint: 'https://till.example/told' };

  it('says how it learns of decisions, and proves itself', () => {
    assert.deepEqual(problems(polling), []);
    assert.deepEqual(problems({ ...polling, grant_types: [CIBA, 'refresh_token'] }), []);
    assert.deepEqual(problems({ ...polling, backchannel_token_delivery_mode: 'ping', ...endpoint }), []);
    assert.deepEqual(problems({ grant_types: [CIBA] }), ['backchannel_token_delivery_mode']);
    assert.deepEqual(problems({ ...polling, backchannel_token_delivery_mode: 'push' }), [
      'backchannel_token_delivery_mode',
    ]);
    assert.deepEqual(problems({ ...polling, token_endpoint_auth_method: 'none' }), ['grant_types']);
    assert.deepEqual(problems({ grant_types: ['client_credentials'], ...endpoint }), [
      'backchannel_client_notification_endpoint',
    ]);
  });

  it('is told at an https address, exactly if it wants to be told', () => {
    const ping = { ...polling, backchannel_token_delivery_mode: 'ping' };
    const [member] = Object.keys(endpoint);
    assert.deepEqual(problems(ping), [member]);
    assert.deepEqual(problems({ ...polling, ...endpoint }), [member]);
    for (const url of ['http://till.example/told', 'https://user:pass@till.example', 'javascript:alert(1)', '']) {
      assert.deepEqual(problems({ ...ping, backchannel_client_notification_endpoint: url }), [member], url);
    }
  });

  it('has a key where it signs its requests', () => {
    const signing = { ...polling, backchannel_authentication_request_signing_alg: 'ES256' };
    assert.deepEqual(problems(signing), ['jwks']);
    assert.deepEqual(problems({ ...signing, jwks_uri: 'https://till.example/keys' }), []);
    assert.deepEqual(problems({ ...signing, backchannel_authentication_request_signing_alg: 'none' }), [
      'backchannel_authentication_request_signing_alg',
    ]);
  });
});

function errorOf({ status, error }: { status: number; error?: string }): [number, string | undefined] {
  return [status, error];
}
