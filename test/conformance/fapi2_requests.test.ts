import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, type CryptoKey } from 'jose';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { REDIRECT_URI } from '../support/client/code_flow.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { epoch, Fapi2Client, type Answer, type Form, type How, type Signed } from '../support/client/fapi2.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';

describe('authorization requests of a client with profile fapi2', () => {
  let gatehouse: Gatehouse;
  let client: Fapi2Client;
  let other: Fapi2Client;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await Fapi2Client.register(gatehouse);
    other = await Fapi2Client.register(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const isRefused = ({ status, body }: Answer, errors: RegExp, expected = 400): void => {
    assert.deepEqual([status, body['request_uri']], [expected, undefined], JSON.stringify(body));
    assert.match(String(body['error']), errors);
  };
  const refuses = async (changed: Form, errors = /^invalid_request$/, how: How = {}): Promise<void> =>
    isRefused(await client.push(changed, how), errors);
  const accepts = async (changed: Form = {}, how: How = {}): Promise<URLSearchParams> => {
    const answer = await client.answerTo(await client.push(changed, how));
    assert.match(answer.get('code') ?? '', /^[\w-]{43}$/);
    assert.equal(answer.get('iss'), gatehouse.issuer);
    return answer;
  };
  const staysHere = async (url: string, error: RegExp): Promise<void> => {
    const { url: at, response, page } = await new Person(gatehouse).open(url);
    assert.deepEqual([response.status, at], [400, url]);
    assert.match(page, error);
  };

  describe('must be pushed:', () => {
    it('one that was not is refused (fapi2-security-profile-final-ensure-unsigned-authorization-request-without-using-par-fails)', async () => {
      const { url } = await new Person(gatehouse).open(client.authorizationUrl(client.parameters()));
      const answer = new URL(url).searchParams;
      assert.deepEqual([answer.get('error'), answer.get('iss')], ['invalid_request', gatehouse.issuer]);
      assert.equal(answer.get('code'), null);
    });

    it('one that was is opened by its request_uri and client_id alone (fapi2-security-profile-final-par-without-duplicate-parameters)', async () => {
      const url = new URL(client.urlOf(await client.push()));
      assert.deepEqual([...url.searchParams.keys()].toSorted(), ['client_id', 'request_uri']);
      const answer = (await new Person(gatehouse).authorize(url)).searchParams;
      assert.deepEqual([answer.get('state'), answer.get('iss')], ['the-state', gatehouse.issuer]);
    });

    it('not by GET (fapi2-security-profile-final-par-attempt-invalid-http-method)', async () => {
      const query = new URLSearchParams({ client_id: client.clientId, client_assertion: await client.assertion() });
      const response = await fetch(`${gatehouse.issuer}/par?${query}`);
      await response.body?.cancel();
      assert.equal(response.status, 405);
    });

    it('not with a request_uri among the parameters (fapi2-security-profile-final-par-authorization-request-containing-request_uri-form-param)', async () => {
      const { body } = await client.push();
      for (const request_uri of [String(body['request_uri']), 'https://app.example.com/request']) {
        await refuses({ request_uri }, /^(invalid_request|request_uri_not_supported)$/);
      }
    });
  });

  describe('are refused', () => {
    for (const [what, module, changed, errors] of [
      [
        'without PKCE',
        'fapi2-security-profile-final-par-ensure-pkce-required',
        { code_challenge: undefined, code_challenge_method: undefined },
      ],
      [
        'with the plain method of PKCE',
        'fapi2-security-profile-final-par-plain-pkce-rejected',
        { code_challenge_method: 'plain' },
      ],
      [
        'for an ID token beside the code',
        'fapi2-security-profile-final-ensure-response-type-code-idtoken-fails',
        { response_type: 'code id_token', nonce: 'n' },
        /^(unsupported_response_type|unauthorized_client)$/,
      ],
      [
        'for a token in the place of the code',
        'fapi2-security-profile-final-ensure-response-type-token-fails',
        { response_type: 'token' },
        /^(unsupported_response_type|unauthorized_client)$/,
      ],
      [
        'without a redirect URI',
        'fapi2-security-profile-final-ensure-redirect-uri-in-authorization-request',
        { redirect_uri: undefined },
      ],
      [
        'with a redirect URI that is not registered',
        'fapi2-security-profile-final-ensure-registered-redirect-uri, fapi2-security-profile-final-plain-fapi-tolerate-unregistered-redirect-uri',
        { redirect_uri: 'https://app.example.com/callback/other' },
      ],
    ] as readonly (readonly [string, string, Form, RegExp?])[]) {
      it(`${what} (${module})`, () => refuses(changed, errors));
    }

    it('with a redirect URI that is only like the registered one', async () => {
      for (const redirect_uri of [
        `${REDIRECT_URI}?`,
        `${REDIRECT_URI}/`,
        REDIRECT_URI.toUpperCase(),
        `${REDIRECT_URI}?a=b`,
      ]) {
        await refuses({ redirect_uri });
      }
    });
  });

  describe('are answered', () => {
    it('without a state (fapi2-security-profile-final-ensure-authorization-request-without-state-success)', async () => {
      assert.equal((await accepts({ state: undefined })).has('state'), false);
    });

    it('with a state as long as any sensible one (fapi2-security-profile-final-ensure-authorization-request-with-long-state)', async () => {
      const state = 'S'.repeat(384);
      assert.equal((await accepts({ state })).get('state'), state);
    });

    for (const [what, module, nonce] of [
      ['without a nonce', 'fapi2-security-profile-final-ensure-authorization-request-without-nonce-success', undefined],
      [
        'with a nonce of 64 characters',
        'fapi2-security-profile-final-ensure-authorization-request-with-64-char-nonce-success',
        'n'.repeat(64),
      ],
      [
        'with a long nonce',
        'fapi2-security-profile-final-ensure-authorization-request-with-long-nonce',
        'n'.repeat(384),
      ],
    ] as const) {
      it(`${what}, which comes back in the ID token (${module})`, async () => {
        const { status, body } = await client.redeem(await client.code({ nonce }));
        assert.equal(status, 200, JSON.stringify(body));
        const claims = JSON.parse(Buffer.from(String(body['id_token']).split('.')[1]!, 'base64url').toString()) as Form;
        assert.equal(claims['nonce'], nonce);
      });
    }

    it('in any order of the scopes (fapi2-security-profile-final-ensure-other-scope-order-succeeds)', async () => {
      for (const scope of ['openid email notes:read', 'notes:read email openid']) {
        const { status, body } = await client.redeem(await client.code({ scope }));
        assert.equal(status, 200, JSON.stringify(body));
        assert.equal(typeof body['id_token'], 'string');
      }
    });

    it('with the person’s no (fapi2-security-profile-final-user-rejects-authentication)', async () => {
      const answer = await client.answerTo(await client.push(), new Person(gatehouse, { decision: 'deny' }));
      assert.deepEqual(
        [answer.get('error'), answer.get('state'), answer.get('iss'), answer.get('code')],
        ['access_denied', 'the-state', gatehouse.issuer, null],
      );
    });

    it('without what is unknown here, such as an unknown intent (fapi2-security-profile-final-ensure-server-handles-non-matching-intent-id)', async () => {
      const intent = { openbanking_intent_id: { value: 'non-matching', essential: true } };
      const code = await client.code({ claims: JSON.stringify({ id_token: intent, userinfo: intent }) });
      const { status, body } = await client.redeem(code);
      assert.equal(status, 200, JSON.stringify(body));
      const payload = String(body['id_token']).split('.')[1]!;
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Form;
      assert.equal('openbanking_intent_id' in claims, false);
    });
  });

  describe('by their request_uri', () => {
    it('are opened again before a person has logged in (fapi2-security-profile-final-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds)', async () => {
      const url = client.urlOf(await client.push());
      for (let visit = 0; visit < 3; visit++)
        assert.match((await new Person(gatehouse).open(url)).url, /\/interaction\//);
      assert.match((await new Person(gatehouse).authorize(url)).search, /[?&]code=/);
    });

    it('are answered once (fapi2-security-profile-final-par-attempt-reuse-request_uri)', async () => {
      const pushed = await client.push();
      await client.answerTo(pushed);
      await staysHere(client.urlOf(pushed), /invalid_request_uri/);
    });

    it('are worth nothing after a minute (fapi2-security-profile-final-par-attempt-to-use-expired-request_uri)', async () => {
      const pushed = await client.push();
      assert.equal(Number(pushed.body['expires_in']) < 600, true);
      moveClock(Number(pushed.body['expires_in']) + 20);
      await staysHere(client.urlOf(pushed), /invalid_request_uri/);
    });

    it('are worth nothing to another client (fapi2-security-profile-final-par-attempt-to-use-request_uri-for-different-client)', async () => {
      const pushed = await client.push();
      await staysHere(client.urlOf(pushed, { client_id: other.clientId }), /invalid_request/);
      assert.match(String(await client.answerTo(pushed)), /code=/);
    });
  });

  it('are refused when the proof that comes with them is of another key than dpop_jkt says (fapi2-security-profile-final-ensure-mismatched-dpop-jkt-fails)', async () => {
    const { thumbprint } = await makeProofKey();
    const dpop = await prove(client.proofKey, ['POST', `${gatehouse.issuer}/par`]);
    await refuses({ dpop_jkt: thumbprint }, /^(invalid_request|invalid_dpop_proof)$/, { dpop });
  });

  describe('that must be signed (FAPI 2.0 message signing)', () => {
    let signing: Fapi2Client;
    let rsaKey: CryptoKey;
    let stranger: CryptoKey;
    before(async () => {
      const rsa = await generateKeyPair('RS256', { extractable: true });
      const pair = await generateKeyPair('ES256', { extractable: true });
      rsaKey = rsa.privateKey;
      stranger = (await generateKeyPair('ES256')).privateKey;
      signing = await Fapi2Client.register(gatehouse, {
        require_signed_request_object: true,
        jwks: {
          keys: [
            { ...(await exportJWK(pair.publicKey)), kid: 'key-1' },
            { ...(await exportJWK(rsa.publicKey)), kid: 'rsa' },
          ],
        },
      });
      Object.assign(signing, { key: pair.privateKey });
    });

    const takes = async (signed: Signed = {}, more: Form = {}): Promise<URLSearchParams> => {
      const url = signing.urlOf(await signing.pushSigned(signed), more);
      const answer = (await new Person(gatehouse).authorize(url)).searchParams;
      assert.match(answer.get('code') ?? '', /^[\w-]{43}$/, String(answer));
      return answer;
    };
    const OBJECT = /^invalid_request(_object)?$/;

    for (const [what, module, signed] of [
      [
        'without exp',
        'fapi2-security-profile-final-ensure-request-object-without-exp-fails',
        () => ({ claims: { exp: undefined } }),
      ],
      [
        'without nbf',
        'fapi2-security-profile-final-ensure-request-object-without-nbf-fails',
        () => ({ claims: { nbf: undefined } }),
      ],
      [
        'once they have expired',
        'fapi2-security-profile-final-ensure-expired-request-object-fails',
        () => ({ claims: { exp: epoch() - 300, nbf: epoch() - 600, iat: epoch() - 600 } }),
      ],
      [
        'for another server',
        'fapi2-security-profile-final-ensure-request-object-with-bad-aud-fails',
        () => ({ claims: { aud: 'https://other.example.com' } }),
      ],
      [
        'with a life of more than an hour',
        'fapi2-security-profile-final-ensure-request-object-with-exp-over-60-fails',
        () => ({ claims: { exp: epoch() + 4_200 } }),
      ],
      [
        'once they have been valid for more than an hour',
        'fapi2-security-profile-final-ensure-request-object-with-nbf-over-60-fails',
        () => ({ claims: { nbf: epoch() - 4_200 } }),
      ],
      [
        'with a life of more than an hour, half of which is over',
        'fapi2-security-profile-final-ensure-request-object-with-exp-over-60-fails',
        () => ({ claims: { nbf: epoch() - 1_800, exp: epoch() + 2_400 } }),
      ],
      ['half a minute before they are valid', '', () => ({ claims: { nbf: epoch() + 30 } })],
      [
        'without a redirect URI',
        'fapi2-security-profile-final-ensure-request-object-without-redirect-uri-fails',
        () => ({ claims: { redirect_uri: undefined } }),
      ],
      [
        'with a request_uri in them',
        'fapi2-security-profile-final-par-authorization-request-containing-request_uri',
        () => ({ claims: { request_uri: 'urn:ietf:params:oauth:request_uri:x' } }),
      ],
      [
        'signed with RS256, be the key registered',
        'fapi2-security-profile-final-ensure-signed-request-object-with-RS256-fails',
        () => ({ header: { alg: 'RS256', kid: 'rsa' }, key: rsaKey }),
      ],
      [
        'signed by another key',
        'fapi2-security-profile-final-ensure-request-object-with-invalid-signature-fails',
        () => ({ key: stranger }),
      ],
      [
        'signed with the key of another client',
        'fapi2-security-profile-final-ensure-matching-key-in-authorization-request',
        () => ({ key: other.key }),
      ],
    ] as readonly (readonly [string, string, () => Signed])[]) {
      it(`are refused ${what}${module && ` (${module})`}`, async () =>
        isRefused(await signing.pushSigned(signed()), OBJECT));
    }

    it('are refused without a signature (fapi2-security-profile-final-ensure-request-object-signature-algorithm-is-not-none)', async () => {
      const [, claims] = (await signing.requestObject()).split('.');
      const header = Buffer.from('{"alg":"none","typ":"oauth-authz-req+jwt"}').toString('base64url');
      const form = { client_id: signing.clientId, request: `${header}.${claims}.` };
      isRefused(await signing.post('/par', form, { dpop: null }), OBJECT);
    });

    it('are refused as plain parameters (fapi2-security-profile-final-ensure-unsigned-request-at-par-endpoint-fails)', async () => {
      isRefused(await signing.push(), OBJECT);
    });

    it('are taken for several servers, if we are one of them (fapi2-security-profile-final-ensure-request-object-with-multiple-aud-succeeds)', async () => {
      await takes({ claims: { aud: ['https://other.example.com', gatehouse.issuer] } });
    });

    it('are taken from a clock that is a little ahead (fapi2-security-profile-final-ensure-request-object-with-nbf-8-seconds-in-the-future-is-accepted)', async () => {
      await takes({ claims: { nbf: epoch() + 8, iat: epoch() + 8 } });
    });

    it('count with the state that was signed, not the one beside it (fapi2-security-profile-final-ensure-different-state-inside-and-outside-request-object)', async () => {
      assert.equal((await takes({ claims: { state: 'inside' } }, { state: 'outside' })).get('state'), 'inside');
    });

    it('come back without a state where none was signed (fapi2-security-profile-final-state-only-outside-request-object-not-used)', async () => {
      assert.equal((await takes({ claims: { state: undefined } }, { state: 'outside' })).has('state'), false);
    });

    it('count with the nonce that was signed (fapi2-security-profile-final-ensure-different-nonce-inside-and-outside-request-object)', async () => {
      const answer = await takes({ claims: { nonce: 'inside' } }, { nonce: 'outside' });
      const { body } = await signing.redeem(answer.get('code')!);
      const payload = String(body['id_token']).split('.')[1]!;
      assert.match(Buffer.from(payload, 'base64url').toString(), /"nonce":"inside"/);
    });
  });
});
