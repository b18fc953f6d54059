import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import { authorizationRequest, reachesLogin, send, staysHere } from '../support/client/authorization_request.ts';
import {
  configure,
  redeem,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
} from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

/** One test for each attack that RFC 9700 names in section 4, as far as an authorization server has a part in it. */
describe('security best current practice (RFC 9700)', () => {
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const errorAt = async (changed: Record<string, string | undefined>, client = application) => {
    const response = await send(gatehouse, authorizationRequest(client, changed));
    const { search, hash } = new URL(response.headers.get('location') ?? '', gatehouse.issuer);
    return new URLSearchParams((search || hash).slice(1)).get('error');
  };
  const errorOf = async (response: Response) => [
    response.status,
    ((await response.json()) as { error?: string }).error,
  ];

  it('4.1: sends no browser to a redirect URI that only resembles a registered one', async () => {
    await reachesLogin(gatehouse, authorizationRequest(application));
    for (const redirect_uri of [`${REDIRECT_URI}/more`, `${REDIRECT_URI}?a=b`, `${REDIRECT_URI}.evil.example`]) {
      await staysHere(gatehouse, authorizationRequest(application, { redirect_uri }));
    }
  });

  it('4.2: tells no other site, by Referer, what was in the address of a page', async () => {
    const { response } = await new Person(gatehouse).open(
      `${gatehouse.issuer}/authorize?${authorizationRequest(application)}`,
    );
    assert.equal(response.status, 200);
    assert.match(response.headers.get('referrer-policy') ?? '', /^(no-referrer|same-origin)$/);
  });

  it('4.3: keeps tokens out of addresses, where browsers remember them', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const inQuery = await fetch(`${gatehouse.url}/userinfo?access_token=${tokens.access_token}`);
    assert.equal(inQuery.status, 400);
    assert.equal(await errorAt({ response_type: 'token' }), 'unsupported_response_type');
  });

  it('4.4: says who answers, in errors too, so that two servers are not mixed up', async () => {
    const { callback } = await requestCode(gatehouse, application);
    assert.equal(callback.searchParams.get('iss'), gatehouse.issuer);
    const refused = await send(gatehouse, authorizationRequest(application, { prompt: 'none' }));
    const { searchParams } = new URL(refused.headers.get('location')!);
    assert.deepEqual([searchParams.get('error'), searchParams.get('iss')], ['login_required', gatehouse.issuer]);
  });

  it('4.5: takes no code that was injected into another session of the same application', async () => {
    const stolen = await requestCode(gatehouse, application);
    const own = await requestCode(gatehouse, application);
    const injected = await redeem(gatehouse.url, application, { code: stolen.code, verifier: own.verifier });
    assert.deepEqual(await errorOf(injected), [400, 'invalid_grant']);
  });

  it('4.6: gives no access token through the browser that could be swapped for another one', async () => {
    for (const response_type of ['token', 'id_token', 'id_token token', 'code token', 'code id_token']) {
      assert.equal(await errorAt({ response_type }), 'unsupported_response_type', response_type);
    }
  });

  it('4.7: ties an answer to the request that it answers, with PKCE and with the state', async () => {
    const { callback, checks, config } = await requestCode(gatehouse, application);
    const forged = new URL(callback);
    forged.searchParams.set('state', 'of-the-attacker');
    await assert.rejects(openid.authorizationCodeGrant(config, forged, checks), ({ cause }: Error) =>
      /unexpected "state"/.test(String(cause)),
    );
    assert.equal(await errorAt({ code_challenge: undefined, code_challenge_method: undefined }), 'invalid_request');
  });

  it('4.8: does not do without PKCE, or with a weaker one, for any client', async () => {
    for (const client of [application, await registerPublicApplication(gatehouse)]) {
      const without = { code_challenge: undefined, code_challenge_method: undefined };
      assert.equal(await errorAt(without, client), 'invalid_request');
      assert.equal(await errorAt({ code_challenge_method: 'plain' }, client), 'invalid_request');
      const request = await requestCode(gatehouse, client);
      const bare = await redeem(gatehouse.url, client, request, { code_verifier: undefined });
      assert.deepEqual(await errorOf(bare), [400, 'invalid_grant']);
    }
  });

  it('4.9: gives a token that is for one API, so that an API that leaks it endangers no other', async () => {
    const files = await registerResource(gatehouse, 'files');
    const client = await registerClient(gatehouse, { resources: [files] });
    const { aud, scope } = decodeJwt(await requestToken(gatehouse.url, client));
    assert.deepEqual([aud, scope], [files.resource, files.scopes.join(' ')]);
  });

  it('4.10: gives a token that is worth nothing to a thief, where the application binds it to a key', async () => {
    const client = await registerPublicApplication(gatehouse);
    const { config, callback, checks } = await requestCode(gatehouse, client);
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair());
    const { access_token } = await openid.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
    const stolen = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
    assert.equal(stolen.status, 401);
    const own = openid.fetchProtectedResource(
      config,
      access_token,
      new URL(`${gatehouse.url}/userinfo`),
      'GET',
      null,
      undefined,
      { DPoP },
    );
    assert.equal((await own).status, 200);
  });

  it('4.11: is no open redirector: not at the start of a login, not at its end, not at logout', async () => {
    const evil = 'https://evil.example/';
    await staysHere(gatehouse, authorizationRequest(application, { redirect_uri: evil }));
    await staysHere(gatehouse, authorizationRequest({ client_id: 'nobody' }, { redirect_uri: evil }));
    const { id_token } = (await signIn(gatehouse, application)).tokens;
    const query = new URLSearchParams({ id_token_hint: id_token!, post_logout_redirect_uri: evil });
    const logout = await fetch(`${gatehouse.url}/logout?${query}`, { redirect: 'manual' });
    assert.deepEqual([logout.status, logout.headers.get('location')], [200, null]);
    assert.doesNotMatch(await logout.text(), /evil\.example/);
  });

  it('4.12: answers the form with the password by 303, so that no browser posts it on', async () => {
    const person = new Person(gatehouse);
    await requestCode(gatehouse, application, { person });
    const forms = person.trace.filter((step) => step.startsWith('POST'));
    assert.equal(forms.length > 0, true);
    for (const step of forms) assert.match(step, / 303$/);
  });

  it('4.13: believes no header about a proxy that is not configured', async () => {
    const response = await fetch(`${gatehouse.url}/.well-known/openid-configuration`, {
      headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', forwarded: 'host=evil.example' },
    });
    assert.equal((await response.text()).includes('evil.example'), false);
  });

  it('4.14: ends all that a stolen refresh token could give, once it is used a second time', async () => {
    const client = await registerPublicApplication(gatehouse);
    const strict = await startGatehouse({ beside: gatehouse, environment: { GATEHOUSE_REFRESH_GRACE_SECONDS: '0' } });
    const { tokens } = await signIn(gatehouse, client);
    const refresh = (refresh_token: string) =>
      postForm(`${strict.url}/token`, { grant_type: 'refresh_token', client_id: client.client_id, refresh_token });
    const renewed = (await (await refresh(tokens.refresh_token!)).json()) as { refresh_token: string };
    assert.notEqual(renewed.refresh_token, tokens.refresh_token);
    assert.deepEqual(await errorOf(await refresh(tokens.refresh_token!)), [400, 'invalid_grant']);
    assert.deepEqual(await errorOf(await refresh(renewed.refresh_token)), [400, 'invalid_grant']);
    await strict.stop();
  });

  it('4.15: names no client as if it were a person: the two are told apart by their identifiers', async () => {
    const client = await registerClient(gatehouse);
    const { sub } = decodeJwt(await requestToken(gatehouse.url, client));
    const person = (await signIn(gatehouse, application)).tokens.claims()!.sub;
    assert.match(sub!, /^client_/);
    assert.match(person, /^account_/);
  });

  it('4.16: lets no page be put into a frame', async () => {
    const { response } = await new Person(gatehouse).open(
      `${gatehouse.issuer}/authorize?${authorizationRequest(application)}`,
    );
    assert.match(response.headers.get('content-security-policy') ?? '', /frame-ancestors 'none'/);
    assert.equal(response.headers.get('x-frame-options'), 'DENY');
  });

  it('4.17: hands no answer to other windows of the browser', async () => {
    const config = (await configure(gatehouse, application)).serverMetadata();
    assert.equal(config['response_modes_supported']?.toString().includes('web_message'), false);
    assert.equal(await errorAt({ response_mode: 'web_message' }), 'unsupported_response_mode');
  });
});
