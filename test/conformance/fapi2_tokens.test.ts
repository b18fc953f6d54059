import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, type CryptoKey } from 'jose';
import * as oauth from 'oauth4webapi';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { REDIRECT_URI } from '../support/client/code_flow.ts';
import { athOf, makeProofKey, prove, type ProofKey, type ProofParts } from '../support/client/dpop.ts';
import { epoch, Fapi2Client, VERIFIER, type Answer, type Signed } from '../support/client/fapi2.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('tokens of a client with profile fapi2', () => {
  let gatehouse: Gatehouse;
  let client: Fapi2Client;
  let other: Fapi2Client;
  let otherKey: ProofKey;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await Fapi2Client.register(gatehouse);
    other = await Fapi2Client.register(gatehouse);
    otherKey = await makeProofKey();
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const isRefused = ({ status, body }: Answer, errors: RegExp): void => {
    assert.equal(status === 400 || status === 401, true, `status ${status} ${JSON.stringify(body)}`);
    assert.match(String(body['error']), errors);
    assert.equal(body['access_token'], undefined);
  };
  const isGiven = ({ status, body }: Answer): Answer['body'] => {
    assert.deepEqual([status, body['token_type']], [200, 'DPoP'], JSON.stringify(body));
    return body;
  };
  const proof = (parts: ProofParts = {}, path = '/token'): Promise<string> =>
    prove(client.proofKey, ['POST', `${gatehouse.issuer}${path}`], parts);
  const PROOF = /^(invalid_dpop_proof|invalid_grant|invalid_request)$/;
  const GRANT = /^invalid_grant$/;
  const CLIENT = /^invalid_(client|request)$/;

  it('come out of the whole flow, as oauth4webapi goes through it (fapi2-security-profile-final-happy-flow)', async () => {
    const its: oauth.Client = { client_id: client.clientId, id_token_signed_response_alg: 'ES256' };
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(gatehouse.issuer);
    const discovered = await oauth.discoveryRequest(issuer, insecure);
    const server = await oauth.processDiscoveryResponse(issuer, discovered);
    const DPoP = oauth.DPoP(its, await oauth.generateKeyPair('ES256'));
    const authentication = oauth.PrivateKeyJwt({ key: client.key, kid: 'key-1' });
    const options = { ...insecure, DPoP };
    const parameters = new URLSearchParams({
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid email',
      state: 'the-state',
      nonce: 'the-nonce',
      code_challenge: client.challenge,
      code_challenge_method: 'S256',
    });
    const pushed = await oauth.pushedAuthorizationRequest(server, its, authentication, parameters, options);
    const { request_uri } = await oauth.processPushedAuthorizationResponse(server, its, pushed);
    const person = new Person(gatehouse);
    const callback = await person.authorize(client.authorizationUrl({ request_uri }));
    const answer = oauth.validateAuthResponse(server, its, callback, 'the-state');
    const grant = await oauth.authorizationCodeGrantRequest(
      server,
      its,
      authentication,
      answer,
      REDIRECT_URI,
      VERIFIER,
      options,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(server, its, grant, {
      expectedNonce: 'the-nonce',
      requireIdToken: true,
    });
    assert.equal(decodeProtectedHeader(tokens.id_token!).alg, 'ES256');
    const { sub } = oauth.getValidatedIdTokenClaims(tokens)!;
    const userinfo = await oauth.userInfoRequest(server, its, tokens.access_token, options);
    assert.equal((await oauth.processUserInfoResponse(server, its, sub, userinfo)).email, gatehouse.account.email);
    for (const step of person.trace.filter((one) => one.startsWith('POST'))) assert.match(step, / 303$/);
  });

  describe('a code', () => {
    it('is redeemed once, also a second later (fapi2-security-profile-final-attempt-reuse-authorization-code-after-one-second)', async () => {
      const code = await client.code();
      isGiven(await client.redeem(code));
      await delay(1_000);
      isRefused(await client.redeem(code), GRANT);
    });

    it('is worth nothing after a minute (fapi2-security-profile-final-ensure-token-endpoint-fails-with-expired-auth-code)', async () => {
      const code = await client.code();
      moveClock(76);
      isRefused(await client.redeem(code), GRANT);
    });

    it('is worth nothing to another client (fapi2-security-profile-final-ensure-authorization-code-is-bound-to-client)', async () => {
      isRefused(await other.redeem(await client.code()), GRANT);
    });

    it('is worth nothing without its verifier (fapi2-security-profile-final-ensure-pkce-code-verifier-required)', async () => {
      isRefused(await client.redeem(await client.code(), { code_verifier: undefined }), /^invalid_(grant|request)$/);
    });

    it('is worth nothing with another verifier (fapi2-security-profile-final-incorrect-pkce-code-verifier-rejected)', async () => {
      isRefused(await client.redeem(await client.code(), { code_verifier: 'w'.repeat(43) }), GRANT);
    });

    it('is bound to the key that its request came with (fapi2-security-profile-final-ensure-dpopproof-at-par-endpoint-binding-success)', async () => {
      const pushed = { dpop: await proof({}, '/par') };
      isGiven(await client.redeem(await client.code({}, pushed)));
    });

    it('is worth nothing with another key than the one its request came with (fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt)', async () => {
      const code = await client.code({}, { dpop: await proof({}, '/par') });
      isRefused(await client.redeem(code, {}, { dpop: otherKey }), PROOF);
    });

    it('is bound to the key that its request named (fapi2-security-profile-final-ensure-dpop-auth-code-binding-success)', async () => {
      isGiven(await client.redeem(await client.code({ dpop_jkt: client.proofKey.thumbprint })));
    });

    it('is worth nothing with another key than the one its request named (fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-jkt)', async () => {
      const code = await client.code({ dpop_jkt: client.proofKey.thumbprint });
      isRefused(await client.redeem(code, {}, { dpop: otherKey }), PROOF);
    });
  });

  describe('are bound to a key:', () => {
    it('none is given without a proof (fapi2-security-profile-final-ensure-holder-of-key-required)', async () => {
      const code = await client.code();
      isRefused(await client.redeem(code, {}, { dpop: null }), PROOF);
      isRefused(await client.post('/token', { grant_type: 'client_credentials' }, { dpop: null }), PROOF);
      isGiven(await client.redeem(code));
    });

    it('none is given for a bad proof (fapi2-security-profile-final-dpop-negative-tests)', async () => {
      const code = await client.code();
      const wrong: ProofParts[] = [
        { signer: otherKey.privateKey },
        { header: { typ: 'JWT' } },
        { header: { jwk: client.proofKey.privateJwk } },
        { claims: { htm: 'GET' } },
        { claims: { htu: `${gatehouse.issuer}/par` } },
        { claims: { jti: undefined } },
        { claims: { iat: undefined } },
        { claims: { iat: epoch() - 3_600 } },
        { claims: { iat: epoch() + 3_600 } },
        { claims: { nonce: 'never given' } },
      ];
      for (const parts of wrong) {
        isRefused(await client.redeem(code, {}, { dpop: await proof(parts) }), /^(invalid_dpop_proof|use_dpop_nonce)$/);
      }
      const single = await proof();
      isGiven(await client.redeem(code, {}, { dpop: single }));
      isRefused(await client.redeem(await client.code(), {}, { dpop: single }), /^invalid_dpop_proof$/);
    });

    for (const [what, module, seconds] of [
      ['behind', 'fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-before-succeeds', -10],
      ['ahead', 'fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-after-succeeds', 10],
    ] as const) {
      it(`one is given to a clock that is a little ${what} (${module})`, async () => {
        const dpop = await proof({ claims: { iat: epoch() + seconds } });
        isGiven(await client.redeem(await client.code(), {}, { dpop }));
      });
    }

    it('a proof may say when it is valid, and is held to it (fapi2-security-profile-final-check-dpop-proof-nbf-exp)', async () => {
      const code = await client.code();
      for (const claims of [{ exp: epoch() - 60 }, { nbf: epoch() + 120 }]) {
        isRefused(await client.redeem(code, {}, { dpop: await proof({ claims }) }), /^invalid_dpop_proof$/);
      }
      const dpop = await proof({ claims: { nbf: epoch() - 10, exp: epoch() + 60 } });
      isGiven(await client.redeem(code, {}, { dpop }));
    });

    it('userinfo takes them under DPoP in any case, and not under Bearer (fapi2-security-profile-final-access-token-type-header-case-sensitivity)', async () => {
      const token = String(isGiven(await client.redeem(await client.code()))['access_token']);
      const userinfo = async (scheme: string): Promise<number> => {
        const url = `${gatehouse.issuer}/userinfo`;
        const DPoP = await prove(client.proofKey, ['GET', url], { claims: { ath: athOf(token) } });
        const response = await fetch(url, { headers: { authorization: `${scheme} ${token}`, DPoP } });
        await response.body?.cancel();
        return response.status;
      };
      for (const scheme of ['DPoP', 'dpop', 'DPOP', 'dPoP']) assert.equal(await userinfo(scheme), 200, scheme);
      for (const scheme of ['Bearer', 'bearer']) assert.equal((await userinfo(scheme)) >= 400, true, scheme);
    });
  });

  describe('a refresh token', () => {
    it('is not replaced: the same one works again, for its client alone (fapi2-security-profile-final-refresh-token)', async () => {
      const { refresh_token } = isGiven(
        await client.redeem(await client.code({ scope: 'openid offline_access', prompt: 'consent' })),
      );
      const first = isGiven(await client.refresh(refresh_token));
      assert.equal(first['refresh_token'], refresh_token);
      moveClock(3_600);
      const second = isGiven(await client.refresh(refresh_token));
      assert.notEqual(second['access_token'], first['access_token']);
      isRefused(await other.refresh(refresh_token), GRANT);
      isRefused(await client.refresh(refresh_token, { dpop: null }), PROOF);
    });

    it('lasts as long as the grant, since no newer one would', async () => {
      const { refresh_token } = isGiven(
        await client.redeem(await client.code({ scope: 'openid offline_access', prompt: 'consent' })),
      );
      moveClock(80 * 86_400);
      isGiven(await client.refresh(refresh_token));
      moveClock(20 * 86_400);
      isRefused(await client.refresh(refresh_token), GRANT);
    });
  });

  it('live ten minutes at most, even if the API allows others more, and are never signed with RS256', async () => {
    const long = await registerResource(gatehouse, 'long', { access_token_ttl_seconds: 3_600 });
    const weak = await registerResource(gatehouse, 'weak', { signing_alg: 'RS256' });
    const bank = await Fapi2Client.register(gatehouse, { resources: [long, weak] });
    const ask = (resource: string): Promise<Answer> =>
      bank.post('/token', { grant_type: 'client_credentials', resource });
    const { access_token } = isGiven(await ask(long.resource));
    const { exp, iat } = decodeJwt(String(access_token));
    assert.equal(exp! - iat!, 600);
    isRefused(await ask(weak.resource), /^invalid_target$/);
  });

  describe('are given for an assertion', () => {
    let rsa: CryptoKey;
    let both: Fapi2Client;
    before(async () => {
      const pair = await generateKeyPair('RS256', { extractable: true });
      const own = await generateKeyPair('ES256', { extractable: true });
      rsa = pair.privateKey;
      const keys = [
        { ...(await exportJWK(pair.publicKey)), kid: 'rsa' },
        { ...(await exportJWK(own.publicKey)), kid: 'key-1' },
      ];
      both = await Fapi2Client.register(gatehouse, { jwks: { keys } });
      Object.assign(both, { key: own.privateKey });
    });

    const present = async (signed: Signed, path: string): Promise<Answer> => {
      const assertion = await both.assertion(signed);
      if (path === '/par') return both.push({}, { assertion });
      return both.post(path, { grant_type: 'client_credentials' }, { assertion });
    };

    for (const [what, module, signed] of [
      [
        'but not one signed with RS256',
        'fapi2-security-profile-final-ensure-signed-client-assertion-with-RS256-fails',
        () => ({ header: { alg: 'RS256', kid: 'rsa' }, key: rsa }),
      ],
      [
        'but not one that expired five minutes ago',
        'fapi2-security-profile-final-ensure-client-assertion-with-exp-is-5-minutes-in-past-fails',
        () => ({ claims: { exp: epoch() - 300, iat: epoch() - 360 } }),
      ],
      [
        'but not one for another server',
        'fapi2-security-profile-final-ensure-client-assertion-with-wrong-aud-fails',
        () => ({ claims: { aud: 'https://other.example.com' } }),
      ],
      [
        'but not one without a subject',
        'fapi2-security-profile-final-ensure-client-assertion-with-no-sub-fails',
        () => ({ claims: { sub: undefined } }),
      ],
      [
        'but not one for a list of servers',
        'fapi2-security-profile-final-par-test-array-as-audience-fails',
        () => ({ claims: { aud: [gatehouse.issuer] } }),
      ],
      [
        'but not one for the endpoint of pushed requests',
        'fapi2-security-profile-final-par-test-par-endpoint-url-as-audience-fails',
        () => ({ claims: { aud: `${gatehouse.issuer}/par` } }),
      ],
      [
        'but not one for the token endpoint',
        'fapi2-security-profile-final-par-test-token-endpoint-url-as-audience-fails',
        () => ({ claims: { aud: `${gatehouse.issuer}/token` } }),
      ],
      [
        'but not one that is not valid for a minute yet',
        'fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails',
        () => ({ claims: { nbf: epoch() + 70, iat: epoch() + 70, exp: epoch() + 130 } }),
      ],
      ['but not one that is from the future', '', () => ({ claims: { iat: epoch() + 70, exp: epoch() + 130 } })],
    ] as readonly (readonly [string, string, () => Signed])[]) {
      it(`${what}${module && ` (${module})`}`, async () => {
        for (const path of ['/par', '/token']) isRefused(await present(signed(), path), CLIENT);
      });
    }

    it('also from a clock that is a little ahead (fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted)', async () => {
      const ahead = (): Signed => ({ claims: { nbf: epoch() + 8, iat: epoch() + 8 } });
      assert.equal((await present(ahead(), '/par')).status, 201);
      assert.equal((await present(ahead(), '/token')).status, 200);
    });

    it('and for nothing less: a client_id alone is refused (fapi2-security-profile-final-ensure-client-assertion-in-token-endpoint)', async () => {
      const code = await client.code();
      const none = { client_assertion: undefined, client_assertion_type: undefined };
      isRefused(await client.redeem(code, { ...none, client_id: client.clientId }), CLIENT);
      isGiven(await client.redeem(code));
    });

    it('of the client that is named beside it (fapi2-security-profile-final-ensure-client-id-in-token-endpoint)', async () => {
      const code = await client.code();
      isRefused(await client.redeem(code, { client_id: other.clientId }), CLIENT);
      isGiven(await client.redeem(code, { client_id: client.clientId }));
    });
  });
});
