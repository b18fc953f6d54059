import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import {
  ask,
  askRaw,
  decide,
  openPage,
  pageOf,
  poll as pollTill,
  registerTill,
} from '../support/client/backchannel.ts';
import { redeem, REDIRECT_URI, registerApplication, requestCode } from '../support/client/code_flow.ts';
import { connectDevice, enterCode, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { everythingStored, type StoredValue } from '../support/node/stored_values.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { bringSecret, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import { Person } from '../support/person/person.ts';
import { exchange, JWT_BEARER, makePolicy, present, TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';

const BROUGHT_SECRET = 'a secret that an operator brought along';
const WRONG_PASSWORD = 'not the right password at all';

/** Bearer values by kind: a thief who reads one can use it. */
type BearerValues = Map<string, string>;

describe('what is kept', () => {
  let gatehouse: Gatehouse;
  const bearers: BearerValues = new Map();
  let stored: StoredValue[];
  before(async () => {
    gatehouse = await startGatehouse({ environment: { LOG_LEVEL: 'trace' } });
    await useEverything();
    stored = await everythingStored(gatehouse.database);
  });
  after(() => gatehouse.stop());

  /** A whole life: login, consent, code, refresh, a code that is still unused, an interaction that is still open. */
  async function useEverything(): Promise<void> {
    const { url, demo, admin, account } = gatehouse;
    bearers.set('the password', account.password);
    bearers.set('the demo secret', demo.client_secret);
    bearers.set('the admin secret', admin.client_secret);
    const client = await registerApplication(gatehouse);
    bearers.set('a client secret', client.client_secret);

    const person = new Person(gatehouse);
    const how = { person, scope: 'openid offline_access email', parameters: { prompt: 'consent' } };
    const request = await requestCode(gatehouse, client, how);
    bearers.set('a code', request.code);
    bearers.set('a code verifier', request.verifier);
    const tokens = await openid.authorizationCodeGrant(request.config, request.callback, request.checks);
    bearers.set('an opaque access token', tokens.access_token);
    bearers.set('a refresh token', tokens.refresh_token!);
    bearers.set('an ID token', tokens.id_token!);
    const renewed = await openid.refreshTokenGrant(request.config, tokens.refresh_token!);
    bearers.set('a renewed access token', renewed.access_token);
    bearers.set('a rotated refresh token', renewed.refresh_token!);
    await openid.fetchUserInfo(request.config, renewed.access_token, tokens.claims()!.sub);

    const unused = await requestCode(gatehouse, client, { person });
    bearers.set('an unused code', unused.code);
    for (const [name, { value }] of person.cookies) bearers.set(`the cookie ${name}`, value);

    const waiting = new Person(gatehouse);
    const { url: interaction } = await waiting.open(
      openid.buildAuthorizationUrl(request.config, {
        redirect_uri: REDIRECT_URI,
        scope: 'openid',
        prompt: 'login',
        code_challenge: await openid.calculatePKCECodeChallenge(request.verifier),
        code_challenge_method: 'S256',
      }),
    );
    bearers.set('the uid of an interaction', interaction.split('/').at(-1)!);
    for (const [name, { value }] of waiting.cookies) bearers.set(`the waiting cookie ${name}`, value);

    bearers.set('a request_uri', await pushRequest(client));
    bearers.set('a JWT', await requestToken(url, demo));
    const brought = await registerClient(gatehouse);
    await bringSecret(gatehouse, brought.client_id, BROUGHT_SECRET);
    bearers.set('a secret that was brought along', BROUGHT_SECRET);
    await requestToken(url, { ...brought, client_secret: BROUGHT_SECRET });
    await tradeTokens(await requestToken(url, demo));
    await connectDevices();
    await askPeople(tokens.id_token!);
    await makeMistakes(client, unused);
  }

  /** A token for a token, and one for an assertion. */
  async function tradeTokens(subject: string): Promise<void> {
    const { demo, issuer: ourselves } = gatehouse;
    const admin = await Admin.of(gatehouse);
    const issuer = await makeIssuer(ourselves);
    await trust(admin, issuer);
    const trader = await registerClient(gatehouse, { grant_types: [TOKEN_EXCHANGE, JWT_BEARER], resources: [] });
    const [scope] = demo.scope.split(' ');
    const common = { client_id: trader.client_id, resource: demo.resource };
    const own = { subject_resource: demo.resource, scopes: [{ scope }], mode: 'delegation' };
    await makePolicy(admin, 'exchange-policies', { ...common, ...own });
    const outside = { issuer: issuer.issuer, subject_account: 'external', scopes: [scope] };
    await makePolicy(admin, 'assertion-policies', { ...common, ...outside });
    const assertion = await issuer.assert();
    bearers.set('a subject token', subject);
    bearers.set('an exchanged token', (await exchange(gatehouse, trader, subject)).body.access_token);
    bearers.set('an assertion', assertion);
    bearers.set('a token for an assertion', (await present(gatehouse, trader, assertion)).body.access_token);
    const refused = await issuer.assert({ claims: { aud: 'https://other.example' } });
    bearers.set('a refused assertion', refused);
    await present(gatehouse, trader, refused);
    await exchange(gatehouse, trader, refused);
  }

  /** Devices at every stop of their way: asked, confirmed, allowed, with tokens, refused; and a code that is a guess. */
  async function connectDevices(): Promise<void> {
    const tv = await registerDevice(gatehouse, { token_endpoint_auth_method: 'client_secret_basic' });
    bearers.set('the secret of a television', tv.client_secret);
    const begin = async (what: string, hint: Record<string, string> = {}) => {
      const answer = await requestDevice(gatehouse, tv, { scope: 'openid email', ...hint });
      bearers.set(`the device code ${what}`, answer.device_code);
      bearers.set(`the user code ${what}`, answer.user_code);
      bearers.set(`the user code ${what}, bare`, answer.user_code.replace('-', ''));
      return answer;
    };
    const used = await begin('that is used');
    await connectDevice(gatehouse, used.user_code);
    const tokens = await poll(gatehouse, tv, used.device_code);
    bearers.set('an access token of a device', tokens.access_token!);
    bearers.set('a refresh token of a device', tokens.refresh_token!);
    bearers.set('an ID token of a device', tokens.id_token!);
    await begin('that waits', { id_token_hint: tokens.id_token! });
    const person = new Person(gatehouse);
    const claimed = await enterCode(gatehouse, person, (await begin('that is confirmed')).user_code);
    bearers.set('the uid of an interaction about a device', claimed.url.split('/').at(-1)!);
    for (const [name, { value }] of person.cookies) bearers.set(`the cookie ${name} beside a device`, value);
    await connectDevice(gatehouse, (await begin('that is allowed')).user_code);
    const denied = new Person(gatehouse, { decision: 'deny' });
    await connectDevice(gatehouse, (await begin('that is refused')).user_code, denied);
    bearers.set('a guessed user code', 'BCDFG-HJKLM');
    await enterCode(gatehouse, new Person(gatehouse), 'BCDFG-HJKLM');
    bearers.set('an unknown device code', 'unknown'.repeat(7));
    await poll(gatehouse, tv, 'unknown'.repeat(7));
  }

  /** Requests over the backchannel: one that waits, one of a client that is to be told, one allowed, one used, one refused. */
  async function askPeople(idToken: string): Promise<void> {
    const till = await registerTill(gatehouse);
    const told = await registerTill(gatehouse, {
      backchannel_token_delivery_mode: 'ping',
      backchannel_client_notification_endpoint: 'http://127.0.0.1:9/told',
    });
    const begin = async (what: string, client = till, parameters: Record<string, string> = {}) => {
      const asked = await ask(gatehouse, client, parameters);
      bearers.set(`the auth_req_id ${what}`, asked.auth_req_id);
      return asked;
    };
    const used = await begin('that is used');
    await decide(gatehouse, used, 'approve');
    const tokens = await pollTill(gatehouse, till, used);
    bearers.set('an access token over the backchannel', tokens.access_token!);
    bearers.set('an ID token over the backchannel', tokens.id_token!);
    await begin('that waits', till, { id_token_hint: tokens.id_token! });
    await decide(gatehouse, await begin('that is allowed'), 'approve');
    await decide(gatehouse, await begin('that is refused'), 'deny');
    const client_notification_token = 'a-token-for-notifications';
    bearers.set('a token for notifications', client_notification_token);
    await begin('of which a client is to be told', told, { client_notification_token });
    await decide(gatehouse, await begin('of which a client is told', told, { client_notification_token }), 'approve');
    const shown = await openPage(pageOf(gatehouse, used), new Person(gatehouse));
    assert.match(shown.page, /You have approved/);
    await askRaw(gatehouse, told, { scope: 'openid', id_token_hint: idToken, client_notification_token });
    bearers.set('an unknown auth_req_id', 'unasked'.repeat(6));
    await pollTill(gatehouse, till, { auth_req_id: 'unasked'.repeat(6) });
  }

  /** What was pushed waits, and so does the login that began with it. */
  async function pushRequest(client: RegisteredClient): Promise<string> {
    const { url } = gatehouse;
    const form = Object.fromEntries(authorizationRequest(client));
    const { request_uri } = (await (await postForm(`${url}/par`, form, client)).json()) as { request_uri: string };
    const { client_id } = client;
    await new Person(gatehouse).open(`${url}/authorize?${new URLSearchParams({ client_id, request_uri })}`);
    return request_uri.split(':').at(-1)!;
  }

  /** Refusals are written down in more detail than anything else. */
  async function makeMistakes(
    client: { client_id: string; client_secret: string },
    unused: { code: string; verifier: string },
  ): Promise<void> {
    const { url, account, demo } = gatehouse;
    const wrongSecret = demo.client_secret.slice(0, -1);
    bearers.set('a mistyped secret', wrongSecret);
    await postForm(`${url}/token`, { grant_type: 'client_credentials' }, { ...demo, client_secret: wrongSecret });
    const stolen = `${'stolen'.repeat(7)}x`;
    bearers.set('an unknown refresh token', stolen);
    await postForm(`${url}/token`, { grant_type: 'refresh_token', refresh_token: stolen }, client);
    await postForm(`${url}/introspect`, { token: stolen }, client);
    await postForm(`${url}/revoke`, { token: stolen }, client);
    await fetch(`${url}/userinfo`, { headers: { authorization: `Bearer ${stolen}` } });
    await redeem(url, client, unused, { code_verifier: stolen });
    bearers.set('a wrong password', WRONG_PASSWORD);
    const person = new Person(gatehouse, { account: { ...account, password: WRONG_PASSWORD } });
    const { url: login } = await person.open(`${url}/authorize?${authorizationRequest(client)}`);
    await person.submit(`${login}/login`, { email: account.email, password: WRONG_PASSWORD });
  }

  /** The value in clear, and in encodings that only look like protection. */
  const disguises = (value: string): string[] => {
    const bytes = Buffer.from(value);
    const raw = Buffer.from(value, 'base64url').toString('latin1');
    return [
      value,
      bytes.toString('base64').replace(/=+$/, ''),
      bytes.toString('base64url'),
      bytes.toString('hex'),
      encodeURIComponent(value),
      ...(raw.length >= 16 ? [raw] : []),
    ];
  };

  it('was looked at: the values are there to be found', () => {
    assert.equal(bearers.size > 20, true, `${bearers.size} values`);
    assert.equal(
      [...bearers.values()].every((value) => value.length >= 8),
      true,
    );
    for (const table of [
      'artifacts',
      'grants',
      'client_secrets',
      'accounts',
      'audit_events',
      'data_keys',
      'device_codes',
      'backchannel_requests',
      'outbox',
    ]) {
      assert.equal(
        stored.some((value) => value.table === table),
        true,
        `nothing in ${table}`,
      );
    }
    const kinds = new Set(stored.filter(({ where }) => where === 'artifacts.kind').map(({ text }) => text));
    for (const kind of [
      'Session',
      'Interaction',
      'AuthorizationCode',
      'AccessToken',
      'RefreshToken',
      'PushedAuthorizationRequest',
    ]) {
      assert.equal(kinds.has(kind), true, `no ${kind}`);
    }
    assert.equal(gatehouse.log.length > 20, true);
  });

  it('in the database lets no thief in: no bearer value in any column, in clear or encoded', () => {
    for (const [what, value] of bearers) {
      for (const disguise of disguises(value)) {
        const found = stored.find(({ text }) => text.includes(disguise));
        assert.equal(found, undefined, `${what} is in ${found?.where}`);
      }
    }
  });

  it('in the log lets no thief in: no bearer value in any line, at the most talkative level', () => {
    for (const [what, value] of bearers) {
      for (const disguise of disguises(value)) {
        const found = gatehouse.log.find((line) => line.includes(disguise));
        assert.equal(found, undefined, `${what} is in ${found}`);
      }
    }
  });

  it('in the database would be found by this test: it finds what is stored in clear', () => {
    for (const value of [gatehouse.demo.client_id, gatehouse.account.email]) {
      assert.equal(
        stored.some(({ text }) => text.includes(value)),
        true,
      );
      assert.equal(
        gatehouse.log.some((line) => line.includes(gatehouse.demo.client_id)),
        true,
      );
    }
  });

  it('of passwords and brought secrets is argon2id and nothing faster', () => {
    const hashes = stored.filter(({ where }) => ['accounts.password_hash', 'client_secrets.argon2id'].includes(where));
    assert.equal(hashes.length >= 2, true);
    for (const { where, text } of hashes) assert.match(text, /^\$argon2id\$v=19\$m=19456,(t=2,p=1|p=1,t=2)\$/, where);
  });
});
