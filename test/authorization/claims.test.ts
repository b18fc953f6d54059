import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { authorizationRequest, send } from '../support/client/authorization_request.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { fillInProfile } from '../support/client/relying_party.ts';

describe('claims that an application asks for one by one', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let sub: string;
  before(async () => {
    gatehouse = await startGatehouse();
    sub = await fillInProfile(gatehouse);
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const asking = (document: object) => ({ parameters: { claims: JSON.stringify(document) } });
  const told = async (config: openid.Configuration, tokens: openid.TokenEndpointResponse) => {
    const { sub: _, ...claims } = await openid.fetchUserInfo(config, tokens.access_token, sub);
    return claims;
  };

  it('are told where they were asked for, and nowhere else', async () => {
    const request = asking({ userinfo: { birthdate: null }, id_token: { locale: { essential: true } } });
    const { config, tokens } = await signIn(gatehouse, client, request);
    assert.deepEqual(await told(config, tokens), { birthdate: '1990-02-28' });
    const { locale, birthdate } = tokens.claims()!;
    assert.deepEqual([locale, birthdate], ['de-DE', undefined]);
  });

  it('are still told after a refresh', async () => {
    const { config, tokens } = await signIn(gatehouse, client, asking({ userinfo: { zoneinfo: null } }));
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.deepEqual(await told(config, renewed), { zoneinfo: 'Europe/Berlin' });
  });

  it('are shown to the person before they are told, in words', async () => {
    const document = { userinfo: { birthdate: null, phone_number: { essential: true } }, id_token: { address: null } };
    const person = new Person(gatehouse);
    const query = authorizationRequest(client, { claims: JSON.stringify(document) });
    const login = await person.open(`${gatehouse.issuer}/authorize?${query}`);
    const { page } = await person.submit(`${login.url}/login`, gatehouse.account);
    for (const words of ['See your birthday', 'See your phone number', 'See your postal address'])
      assert.ok(page.includes(words), words);
  });

  it('are not told to an application that was only allowed others', async () => {
    const other = await registerApplication(gatehouse);
    const person = new Person(gatehouse);
    await signIn(gatehouse, other, { person, ...asking({ userinfo: { birthdate: null } }) });
    const { parameters } = asking({ userinfo: { birthdate: null, gender: null } });
    const silent = await requestCode(gatehouse, other, { person, parameters: { ...parameters, prompt: 'none' } });
    assert.equal(silent.callback.searchParams.get('error'), 'consent_required');
  });

  it('are part of a consent that is remembered, for exactly what was allowed', async () => {
    const other = await registerApplication(gatehouse);
    const request = asking({ userinfo: { birthdate: null } });
    await signIn(gatehouse, other, { person: new Person(gatehouse, { remember: true }), ...request });
    const later = new Person(gatehouse, { decision: 'deny' });
    const again = await signIn(gatehouse, other, { person: later, ...request });
    assert.deepEqual(await told(again.config, again.tokens), { birthdate: '1990-02-28' });
    const more = asking({ userinfo: { birthdate: null, gender: null } });
    const { callback } = await requestCode(gatehouse, other, { person: later, ...more });
    assert.equal(callback.searchParams.get('error'), 'access_denied');
  });

  it('are left out where the account has none, even where they are essential', async () => {
    const document = { userinfo: { shoe_size: { essential: true }, 'https://example.com/claim': null } };
    const { config, tokens } = await signIn(gatehouse, client, asking(document));
    assert.deepEqual(await told(config, tokens), {});
  });

  it('can name the person who must log in: another person is sent back, and not asked twice', async () => {
    const request = (value: string) => asking({ id_token: { sub: { value } } });
    assert.equal((await signIn(gatehouse, client, request(sub))).tokens.claims()!.sub, sub);
    const { callback, person } = await requestCode(gatehouse, client, request('somebody-else'));
    assert.equal(callback.searchParams.get('error'), 'login_required');
    assert.equal(person.trace.filter((line) => line.startsWith('POST')).length, 1);
  });

  const deep = `${'{"a":'.repeat(200)}1${'}'.repeat(200)}`;
  for (const [what, claims] of Object.entries({
    'that are no JSON': '{"userinfo":',
    'that are no object': '[]',
    'that are null': 'null',
    'that ask for nothing': '{}',
    'with userinfo that is no object': '{"userinfo":[]}',
    'with an ID token that is null': '{"id_token":null}',
    'with a claim that is a word': '{"id_token":{"sub":"x"}}',
    'with a claim that is a number': '{"id_token":{"acr":1}}',
    'with a claim that is a list': '{"userinfo":{"name":[]}}',
    'whose essential is a word': '{"userinfo":{"name":{"essential":"yes"}}}',
    'whose values are no list': '{"id_token":{"acr":{"essential":true,"values":"a"}}}',
    'whose value is an object': '{"id_token":{"sub":{"value":{}}}}',
    'with value and values': '{"id_token":{"acr":{"value":"a","values":["a"]}}}',
    'with a name that changes objects': '{"userinfo":{"__proto__":{"essential":true}}}',
    'whose value goes deep': `{"userinfo":{"name":{"value":${deep}}}}`,
    'with a name that is too long': JSON.stringify({ userinfo: { ['x'.repeat(201)]: null } }),
    'with too many values': JSON.stringify({ id_token: { acr: { values: Array.from({ length: 51 }, () => 'a') } } }),
  })) {
    it(`${what} are refused with invalid_request`, async () => {
      const response = await send(gatehouse, authorizationRequest(client, { claims }));
      const location = response.headers.get('location') ?? '';
      assert.equal(new URL(location, gatehouse.issuer).searchParams.get('error'), 'invalid_request', location);
    });
  }

  it('that are too large are refused when they are pushed, where no address bounds them', async () => {
    const push = async (count: number): Promise<[number, unknown]> => {
      const names = Array.from({ length: count }, (_, i) => [`claim_${i}`, null] as const);
      const claims = JSON.stringify({ userinfo: Object.fromEntries(names) });
      const form = Object.fromEntries(authorizationRequest(client, { claims }));
      const answer = await postForm(`${gatehouse.url}/par`, form, client);
      return [answer.status, ((await answer.json()) as { error?: string }).error];
    };
    assert.deepEqual(await push(300), [201, undefined]);
    assert.deepEqual(await push(900), [400, 'invalid_request']);
  });

  it('with characters that can’t be stored are refused, not answered with a failure', async () => {
    const claims = '{"id_token":{"sub":{"value":"\\u0000"}},"userinfo":{"\\ud800":null}}';
    const response = await send(gatehouse, authorizationRequest(client, { claims }));
    assert.ok(response.status < 500, String(response.status));
  });
});
