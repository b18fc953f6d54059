import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { CIBA, DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { ask } from '../support/client/backchannel.ts';
import { REDIRECT_URI, registerApplication, requestCode, signIn, type Callback } from '../support/client/code_flow.ts';
import { requestDevice } from '../support/person/device_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { makePolicy, makeToken, register, send } from '../support/client/registration.ts';

const REQUEST_URI = 'urn:ietf:params:oauth:request_uri:';

/** What came back when a value was offered somewhere. */
interface Outcome {
  readonly status: number;
  readonly text: string;
}

describe('a value of one kind', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let callback: Callback;
  let registration: string;
  /** One live value of each kind, all of them given to one client and one person. */
  let values: Readonly<Record<string, string>>;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token', DEVICE_CODE, CIBA],
      backchannel_token_delivery_mode: 'poll',
    });
    await makePolicy(gatehouse, { name: 'partners' });
    const first = await makeToken(gatehouse, 'partners');
    const registered = await register(gatehouse, {}, first.initial_access_token);
    registration = registered.body.registration_client_uri;
    const { tokens, person } = await signIn(gatehouse, client, {
      scope: 'openid offline_access',
      parameters: { prompt: 'consent' },
    });
    callback = await requestCode(gatehouse, client);
    const pushed = await openid.buildAuthorizationUrlWithPAR(callback.config, {
      redirect_uri: REDIRECT_URI,
      code_challenge: await openid.calculatePKCECodeChallenge(callback.verifier),
      code_challenge_method: 'S256',
      scope: 'openid',
    });
    values = {
      'a code': callback.code,
      'a refresh token': tokens.refresh_token!,
      'an access token': tokens.access_token,
      'a device code': (await requestDevice(gatehouse, client)).device_code,
      'an auth_req_id': (await ask(gatehouse, client)).auth_req_id,
      'a pushed request': pushed.searchParams.get('request_uri')!.slice(REQUEST_URI.length),
      'a session': person.cookies.get('gatehouse_session')!.value,
      'an initial access token': (await makeToken(gatehouse, 'partners')).initial_access_token,
      'a registration access token': registered.body.registration_access_token,
    };
  });
  after(() => gatehouse.stop());

  const outcome = async (answer: Response): Promise<Outcome> => ({ status: answer.status, text: await answer.text() });
  const atToken = async (form: Readonly<Record<string, string>>): Promise<Outcome> =>
    outcome(await postForm(`${gatehouse.url}/token`, form, client));

  /** Where each kind is taken. */
  const places: Readonly<Record<string, (value: string) => Promise<Outcome>>> = {
    'a code': (code) =>
      atToken({
        grant_type: 'authorization_code',
        code,
        redirect_uri: REDIRECT_URI,
        code_verifier: callback.verifier,
      }),
    'a refresh token': (refresh_token) => atToken({ grant_type: 'refresh_token', refresh_token }),
    'an access token': async (token) =>
      outcome(await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } })),
    'a device code': (device_code) => atToken({ grant_type: DEVICE_CODE, device_code }),
    'an auth_req_id': (auth_req_id) => atToken({ grant_type: CIBA, auth_req_id }),
    'a pushed request': async (value) => {
      const query = new URLSearchParams({ client_id: client.client_id, request_uri: `${REQUEST_URI}${value}` });
      const { response, page } = await new Person(gatehouse).open(`${gatehouse.issuer}/authorize?${query}`);
      return { status: response.status, text: page };
    },
    'an initial access token': async (token) => {
      const { status, body } = await register(gatehouse, {}, token);
      return { status, text: JSON.stringify(body) };
    },
    'a registration access token': async (token) => {
      const { status, body } = await send('GET', registration, undefined, token);
      return { status, text: JSON.stringify(body) };
    },
  };
  const offered = async (kind: string, place: string): Promise<string> => {
    const { status, text } = await places[place]!(values[kind]!);
    const { error } = text.startsWith('{') ? (JSON.parse(text) as { error?: string }) : {};
    return error === undefined ? String(status) : `${status} ${error}`;
  };

  const REFUSED: Readonly<Record<string, string>> = {
    'a code': '400 invalid_grant',
    'a refresh token': '400 invalid_grant',
    'an access token': '401 invalid_token',
    'a device code': '400 invalid_grant',
    'an auth_req_id': '400 invalid_grant',
    'a pushed request': '400',
    'an initial access token': '401 invalid_token',
    'a registration access token': '401 invalid_token',
  };
  for (const place of Object.keys(REFUSED)) {
    it(`is worth nothing where ${place} is asked for (CVE-2026-4282)`, async () => {
      for (const kind of Object.keys(values).filter((one) => one !== place))
        assert.equal(await offered(kind, place), REFUSED[place], kind);
    });
  }

  it('is inactive at introspection, unless it is a token', async () => {
    for (const [kind, token] of Object.entries(values)) {
      const answer = await postForm(`${gatehouse.url}/introspect`, { token }, client);
      const { active } = (await answer.json()) as { active: boolean };
      assert.equal(active, kind === 'an access token' || kind === 'a refresh token', kind);
    }
  });

  it('is as good as before where it belongs, after all that', async () => {
    const answers = await Promise.all(Object.keys(REFUSED).map(async (kind) => [kind, await offered(kind, kind)]));
    assert.deepEqual(Object.fromEntries(answers), {
      'a code': '200',
      'a refresh token': '200',
      'an access token': '200',
      'a device code': '400 authorization_pending',
      'an auth_req_id': '400 authorization_pending',
      'a pushed request': '200',
      'an initial access token': '201',
      'a registration access token': '200',
    });
  });
});
