import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { generateKeyPair, SignJWT } from 'jose';
import {
  authorizationRequest,
  CHALLENGE,
  reachesLogin,
  send,
  staysHere,
} from '../support/client/authorization_request.ts';
import { registerApplication, REDIRECT_URI, requestCode } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const EVIL = 'https://evil.example';
/** A thumbprint is the base64url form of 32 bytes (RFC 9449, 10). */
const MALFORMED_THUMBPRINTS = [
  'x',
  CHALLENGE.slice(1),
  `${CHALLENGE}A`,
  `${CHALLENGE}=`,
  `+${CHALLENGE.slice(1)}`,
  `${CHALLENGE.slice(0, -1)}B`,
  'a'.repeat(64),
];

describe('authorization requests', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const query = (changed: Record<string, string | undefined> = {}, who = client): URLSearchParams =>
    authorizationRequest(who, changed);
  /** The application is told, at its own redirect URI, with its own state and our iss. */
  const isTold = async (parameters: URLSearchParams, error: RegExp): Promise<void> => {
    const location = (await send(gatehouse, parameters)).headers.get('location') ?? '';
    // response types that we don't have would be answered in the fragment, so that is where their refusal goes
    const [address, answer] = location.split(/[?#]/);
    assert.equal(address, REDIRECT_URI, `sent to ${location}`);
    const told = new URLSearchParams(answer);
    assert.match(told.get('error') ?? '', error);
    assert.equal(told.get('iss'), gatehouse.issuer);
    assert.equal(told.get('code'), null);
  };

  it('reach the login page when nothing is wrong with them (AUTH-P00)', () => reachesLogin(gatehouse, query()));

  it('reach the login page with a dpop_jkt that is a thumbprint, or empty (FIELD-C16)', async () => {
    for (const dpop_jkt of [CHALLENGE, '']) await reachesLogin(gatehouse, query({ dpop_jkt }));
  });

  describe('tell the application what is wrong', () => {
    for (const [what, changed, error] of [
      [
        'without PKCE, for a confidential client too (AUTH-P06, CVE-2024-22258)',
        { code_challenge: undefined, code_challenge_method: undefined },
        /^invalid_request$/,
      ],
      ['with PKCE plain', { code_challenge_method: 'plain' }, /^invalid_request$/],
      [
        'with a challenge but no method, which means plain (AUTH-P08)',
        { code_challenge_method: undefined },
        /^invalid_request$/,
      ],
      ['with a method but no challenge', { code_challenge: undefined }, /^invalid_request$/],
      ['with a challenge that is too short (AUTH-P10)', { code_challenge: 'abcdefghij' }, /^invalid_request$/],
      ['with a challenge that is too long', { code_challenge: 'a'.repeat(129) }, /^invalid_request$/],
      ['with a challenge of other characters', { code_challenge: `${CHALLENGE.slice(1)}+` }, /^invalid_request$/],
      ['with a method that does not exist', { code_challenge_method: 's256' }, /^invalid_request$/],
      [
        'without a response type (AUTH-P04)',
        { response_type: undefined },
        /^(invalid_request|unsupported_response_type)$/,
      ],
      ['for a token (implicit)', { response_type: 'token' }, /^unsupported_response_type$/],
      ['for an ID token (implicit)', { response_type: 'id_token', nonce: 'n' }, /^unsupported_response_type$/],
      [
        'for both (implicit) (AUTH-P02)',
        { response_type: 'id_token token', nonce: 'n' },
        /^unsupported_response_type$/,
      ],
      [
        'for a code and an ID token (hybrid)',
        { response_type: 'code id_token', nonce: 'n' },
        /^unsupported_response_type$/,
      ],
      ['for a code and a token (hybrid)', { response_type: 'code token' }, /^unsupported_response_type$/],
      ['for nothing', { response_type: 'none' }, /^unsupported_response_type$/],
      ['with prompt=none and no person logged in (AUTH-P12)', { prompt: 'none' }, /^login_required$/],
      ['with prompt=none and more', { prompt: 'none login' }, /^invalid_request$/],
      ['with a prompt that does not exist (AUTH-P14)', { prompt: 'evil' }, /^invalid_request$/],
      ['with max_age=abc (AUTH-P16)', { max_age: 'abc' }, /^invalid_request$/],
      ['with a negative max_age', { max_age: '-1' }, /^invalid_request$/],
      ...['1e2', '0x10', '0x0', ' 5', '+5', '5.0'].map(
        (max_age) =>
          [
            `with max_age=${max_age}, which is not in decimal digits (FIELD-E9)`,
            { max_age },
            /^invalid_request$/,
          ] as const,
      ),
      ...MALFORMED_THUMBPRINTS.map(
        (dpop_jkt) =>
          [`with dpop_jkt=${dpop_jkt}, which is no thumbprint (FIELD-C16)`, { dpop_jkt }, /^invalid_request$/] as const,
      ),
      [
        'with a dpop_jkt that is no thumbprint, for an API (FIELD-C16)',
        { dpop_jkt: 'x', scope: 'notes:read', resource: 'https://api.example.com' },
        /^invalid_request$/,
      ],
      ['with a scope that the client was not given', { scope: 'openid clients:write' }, /^invalid_scope$/],
      ['with a resource that does not exist', { resource: 'https://nowhere.example.com' }, /^invalid_target$/],
      ['with a resource that has a fragment (AUTH-P20)', { resource: 'https://api.example.com#x' }, /^invalid_target$/],
      ['with a resource that is no URI', { resource: 'api' }, /^invalid_target$/],
      ['with a request object without a signature', { request: 'e30.e30.' }, /^invalid_request_object$/],
      ['with a request_uri', { request_uri: `${EVIL}/request` }, /^request_uri_not_supported$/],
      [
        'with a request_uri that no client pushed (AUTH-P24)',
        { request_uri: 'urn:ietf:params:oauth:request_uri:nonexistent' },
        /^invalid_request_uri$/,
      ],
      ['with a registration', { registration: '{}' }, /^registration_not_supported$/],
    ] as const) {
      it(what, () => isTold(query(changed), error));
    }

    it('with an id_token_hint that a stranger signed (AUTH-P22)', async () => {
      const { privateKey } = await generateKeyPair('ES256');
      const hint = await new SignJWT({ sub: 'account_x' })
        .setProtectedHeader({ alg: 'ES256', kid: 'op-es' })
        .setIssuer(gatehouse.issuer)
        .setAudience(client.client_id)
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey);
      await isTold(query({ id_token_hint: hint }), /^invalid_request$/);
    });

    for (const name of ['scope', 'state', 'response_type', 'nonce', 'code_challenge', 'client_id', 'prompt'] as const) {
      it(`with ${name} twice, or refuse it here (AUTH-D-${name})`, async () => {
        const twice = query({ nonce: 'n' });
        twice.append(name, 'second');
        const response = await send(gatehouse, twice);
        const location = response.headers.get('location');
        if (location === null) assert.equal(response.status, 400);
        else assert.equal(new URL(location).searchParams.get('error'), 'invalid_request');
      });
    }
  });

  it('answer an unknown response_mode with an error and no code (AUTH-P18)', async () => {
    const response = await send(gatehouse, query({ response_mode: 'evil' }));
    const location = response.headers.get('location');
    if (location) assert.equal(new URL(location).searchParams.get('error'), 'unsupported_response_mode');
    else assert.equal(response.status, 400);
  });

  it('repeat the state exactly, with any characters in it (AUTH-X03)', async () => {
    const state = '<script>alert(1)</script>\r\nset-cookie: x=1 "\'&=%';
    const response = await send(gatehouse, query({ state, prompt: 'none' }));
    assert.equal(response.headers.get('set-cookie')?.includes('x=1') ?? false, false);
    assert.equal(new URL(response.headers.get('location')!).searchParams.get('state'), state);
  });

  it('never put a script from their parameters into an error page (AUTH-X01, GO-2026-4861)', async () => {
    const script = '<script>alert(1)</script>';
    for (const parameters of [
      query({ state: script, redirect_uri: `${EVIL}/cb` }),
      query({ client_id: script }),
      query({ redirect_uri: script }),
      query({ client_id: undefined, error: script, error_description: script }),
    ]) {
      assert.equal((await staysHere(gatehouse, parameters)).includes('<script>alert'), false);
    }
  });

  for (const [what, parameters] of Object.entries({
    'a client_id of 10,000 characters (AUTH-X05)': `client_id=${'x'.repeat(10_000)}&response_type=code`,
    'bytes that are no UTF-8 (AUTH-X07)': 'client_id=%ff%fe&response_type=code',
    'a NUL in the client_id': 'client_id=a%00b&response_type=code',
    'half a surrogate': 'client_id=%ed%a0%80&response_type=code',
    'a broken percent code': 'client_id=%zz&response_type=code',
    nothing: '',
  })) {
    it(`do not break the server with ${what}`, async () => {
      await staysHere(gatehouse, parameters);
    });
  }

  it('do not break the server with strange values of every parameter', async () => {
    for (const name of [
      'scope',
      'state',
      'nonce',
      'claims',
      'ui_locales',
      'login_hint',
      'acr_values',
      'display',
      'resource',
      'max_age',
    ]) {
      for (const value of ['\0', 'x'.repeat(8_000), '%00', '{"a":', '[]', '-0', '1e999']) {
        const response = await send(gatehouse, query({ [name]: value }));
        await response.body?.cancel();
        assert.equal(
          response.status < 500,
          true,
          `${name} with ${JSON.stringify(value).slice(0, 20)}: ${response.status}`,
        );
      }
    }
  });

  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    it(`are not made by ${method}${method === 'PUT' ? ' (AUTH-X09)' : ''}`, async () => {
      const response = await fetch(`${gatehouse.url}/authorize?${query()}`, { method, redirect: 'manual' });
      assert.equal([400, 404, 405, 501].includes(response.status), true, `status ${response.status}`);
    });
  }

  describe('of a person who is logged in already', () => {
    it('are answered at once with prompt=none, and ask again with prompt=login', async () => {
      const { person } = await requestCode(gatehouse, client);
      const silent = await person.open(`${gatehouse.url}/authorize?${query({ prompt: 'none' })}`);
      assert.match(new URL(silent.url).searchParams.get('code') ?? '', /^[\w-]{43}$/);

      const again = await person.open(`${gatehouse.url}/authorize?${query({ prompt: 'login' })}`);
      assert.match(again.page, /name="password"/);
    });

    it('get consent_required with prompt=none for a scope that was not allowed yet', async () => {
      const { person } = await requestCode(gatehouse, client);
      const { url } = await person.open(
        `${gatehouse.url}/authorize?${query({ prompt: 'none', scope: 'openid email' })}`,
      );
      assert.equal(new URL(url).searchParams.get('error'), 'consent_required');
    });

    it('ask for the password again with max_age=0', async () => {
      const { person } = await requestCode(gatehouse, client);
      const { page } = await person.open(`${gatehouse.url}/authorize?${query({ max_age: '0' })}`);
      assert.match(page, /name="password"/);
    });

    it('belong to the browser that made them: another one can not take the interaction over', async () => {
      const victim = new Person(gatehouse);
      const { url } = await victim.open(`${gatehouse.url}/authorize?${query()}`);
      const thief = await new Person(gatehouse).open(url);
      assert.equal(thief.response.status, 400);
      assert.equal(thief.page.includes('name="password"'), false);
    });

    it('get a session of their own at login: a cookie planted before it is not taken over (GHSA-mq4x-r2w3-j7mr)', async () => {
      const person = new Person(gatehouse);
      person.cookies.set('gatehouse_session', { value: 'planted', path: '/' });
      person.cookies.set('gatehouse_session.sig', { value: 'planted', path: '/' });
      await person.authorize(`${gatehouse.url}/authorize?${query()}`);
      assert.notEqual(person.cookies.get('gatehouse_session')?.value, 'planted');
    });
  });
});
