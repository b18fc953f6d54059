import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  configure,
  redeem,
  registerApplication,
  registerPublicApplication,
  REDIRECT_URI,
  requestCode,
  signIn,
} from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('the authorization code flow', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const errorOf = async (response: Response): Promise<[number, string | undefined]> => {
    const { error } = (await response.json()) as { error?: string };
    return [response.status, error];
  };
  const userinfo = async (token: string): Promise<number> => {
    const response = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    await response.body?.cancel();
    return response.status;
  };

  it('tells an application who logged in: ID token and userinfo, as openid-client checks them (TOK-C00)', async () => {
    const { config, tokens } = await signIn(gatehouse, client, { scope: 'openid profile email' });
    const claims = tokens.claims()!;
    assert.equal(claims.iss, gatehouse.issuer);
    assert.equal(claims.aud, client.client_id);
    assert.equal(claims['email'], gatehouse.account.email);
    assert.equal(claims['email_verified'], true);
    assert.equal(claims['name'], 'Demo Person');
    assert.equal(typeof claims['at_hash'] === 'string' || claims['at_hash'] === undefined, true);

    const answer = await openid.fetchUserInfo(config, tokens.access_token, claims.sub);
    assert.equal(answer.email, gatehouse.account.email);
  });

  it('says who answers: iss in the authorization response (RFC 9207)', async () => {
    const { callback } = await requestCode(gatehouse, client);
    assert.equal(callback.searchParams.get('iss'), gatehouse.issuer);
    assert.deepEqual([...callback.searchParams.keys()].sort(), ['code', 'iss', 'state']);
  });

  it('tells only what was asked for: no e-mail address without the scope email', async () => {
    const { config, tokens } = await signIn(gatehouse, client, { scope: 'openid' });
    const answer = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.deepEqual(Object.keys(answer), ['sub']);
    assert.equal(tokens.claims()!['email'], undefined);
  });

  it('serves a public client with PKCE alone, as oauth4webapi speaks', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(gatehouse.issuer);
    const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
    const { callback, verifier, checks } = await requestCode(gatehouse, spa);
    const its = { client_id: spa.client_id };
    const parameters = oauth.validateAuthResponse(server, its, callback, checks.expectedState);
    const answer = await oauth.authorizationCodeGrantRequest(
      server,
      its,
      oauth.None(),
      parameters,
      REDIRECT_URI,
      verifier,
      insecure,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(server, its, answer, {
      expectedNonce: checks.expectedNonce!,
      requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(server, answer, insecure);
    assert.equal(oauth.getValidatedIdTokenClaims(tokens)?.aud, spa.client_id);
  });

  it('gives a token for the API that was asked for: a JWT that names the person, the client and the grant', async () => {
    const { resource } = gatehouse.demo;
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid notes:read', parameters: { resource } });
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { payload } = await jwtVerify(tokens.access_token, jwks, {
      issuer: gatehouse.issuer,
      audience: resource,
      typ: 'at+jwt',
    });
    assert.equal(payload.sub, tokens.claims()!.sub);
    assert.match(payload.sub, /^account_/);
    assert.equal(payload['client_id'], client.client_id);
    assert.equal(payload['scope'], 'notes:read');
    assert.equal(typeof payload['gid'], 'string');
  });

  it('gives the API token too when the scopes alone say which API is meant', async () => {
    const { tokens } = await signIn(gatehouse, client, { scope: 'notes:read' });
    assert.equal(tokens.scope, 'notes:read');
    assert.equal(tokens.id_token, undefined);
  });

  it('keeps a token for an API from userinfo', async () => {
    const { resource } = gatehouse.demo;
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid notes:read', parameters: { resource } });
    assert.equal(await userinfo(tokens.access_token), 401);
  });

  it('does not let a code widen: another resource at the token endpoint is refused (CVE-2026-67332)', async () => {
    const { resource } = gatehouse.demo;
    const request = await requestCode(gatehouse, client, { scope: 'openid notes:read', parameters: { resource } });
    const answer = await redeem(gatehouse.url, client, request, { resource: gatehouse.admin.resource });
    assert.deepEqual(await errorOf(answer), [400, 'invalid_target']);
  });

  it('gives a token for one API at a time where a code is for two, and each with its own scopes', async () => {
    const files = await registerResource(gatehouse, 'files');
    const notes = { resource: gatehouse.demo.resource, scopes: ['notes:read'] };
    const both = await registerApplication(gatehouse, { resources: [notes, files] });
    const config = await configure(gatehouse, both);
    const authorize = async (): Promise<{ code: string; verifier: string }> => {
      const verifier = openid.randomPKCECodeVerifier();
      const query = new URLSearchParams({
        client_id: both.client_id,
        response_type: 'code',
        redirect_uri: REDIRECT_URI,
        scope: 'notes:read files:read',
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      });
      for (const { resource } of [notes, files]) query.append('resource', resource);
      const callback = await new Person(gatehouse).authorize(`${gatehouse.url}/authorize?${query}`);
      return { code: callback.searchParams.get('code')!, verifier };
    };
    const unclear = await redeem(gatehouse.url, both, await authorize());
    assert.deepEqual(await errorOf(unclear), [400, 'invalid_target']);

    const answer = await redeem(gatehouse.url, both, await authorize(), { resource: files.resource });
    const tokens = (await answer.json()) as { scope: string; refresh_token: string };
    assert.equal(tokens.scope, 'files:read');
    const other = await openid.refreshTokenGrant(config, tokens.refresh_token, { resource: notes.resource });
    assert.equal(other.scope, 'notes:read');
  });

  describe('a code is refused', () => {
    // logged in once for all of them
    let person: Person;
    before(() => {
      person = new Person(gatehouse);
    });
    for (const [what, changed] of Object.entries<Record<string, string | undefined>>({
      'without the verifier (TOK-C04, CVE-2023-48228)': { code_verifier: undefined },
      'with an empty verifier': { code_verifier: '' },
      'with another verifier': { code_verifier: 'x'.repeat(43) },
      'with a verifier that is too short': { code_verifier: 'x'.repeat(42) },
      'with a verifier that is too long': { code_verifier: 'x'.repeat(129) },
      'with a verifier of characters that it may not have (TOK-C06)': {
        code_verifier: 'a+/=a+/=a+/=a+/=a+/=a+/=a+/=a+/=a+/=a+/=a+/=',
      },
      'without the redirect URI': { redirect_uri: undefined },
      'with another redirect URI': { redirect_uri: 'https://app.example.com/other' },
      'with a redirect URI that has more to it': { redirect_uri: `${REDIRECT_URI}?a=b` },
      'of 50,000 characters': { code: 'x'.repeat(50_000) },
      'when one character of it is changed': { code: 'x'.repeat(43) },
    })) {
      it(what, async () => {
        const answer = await redeem(gatehouse.url, client, await requestCode(gatehouse, client, { person }), changed);
        const [status, error] = await errorOf(answer);
        assert.equal(status, 400);
        assert.match(error!, /^invalid_(grant|request)$/);
      });
    }

    it('of 100,000 characters before anything is looked at (TOK-C12)', async () => {
      const changed = { code: 'x'.repeat(100_000) };
      const answer = await redeem(gatehouse.url, client, await requestCode(gatehouse, client, { person }), changed);
      const [status, error] = await errorOf(answer);
      assert.deepEqual([status, error], [413, 'invalid_request']);
    });

    it('when another client brings it (TOK-C02)', async () => {
      const other = await registerApplication(gatehouse);
      const answer = await redeem(gatehouse.url, other, await requestCode(gatehouse, client));
      assert.deepEqual(await errorOf(answer), [400, 'invalid_grant']);
    });

    it('when a public client brings the code of a confidential one', async () => {
      const spa = await registerPublicApplication(gatehouse);
      const answer = await redeem(gatehouse.url, spa, await requestCode(gatehouse, client));
      assert.deepEqual(await errorOf(answer), [400, 'invalid_grant']);
    });

    it('when the client does not prove itself', async () => {
      const stolen = await requestCode(gatehouse, client);
      const answer = await redeem(gatehouse.url, { ...client, client_secret: '' }, stolen);
      assert.deepEqual(await errorOf(answer), [401, 'invalid_client']);
    });

    it('a minute after it was given (TOK-C10)', async () => {
      const late = await requestCode(gatehouse, client);
      moveClock(61);
      assert.deepEqual(await errorOf(await redeem(gatehouse.url, client, late)), [400, 'invalid_grant']);
    });
  });

  it('works up to the end of that minute', async () => {
    const late = await requestCode(gatehouse, client);
    moveClock(55);
    assert.equal((await redeem(gatehouse.url, client, late)).status, 200);
  });

  it('a code redeemed twice ends every token that the first redemption gave (RFC 6749, 4.1.2)', async () => {
    const request = await requestCode(gatehouse, client, {
      scope: 'openid offline_access',
      parameters: { prompt: 'consent' },
    });
    const first = (await (await redeem(gatehouse.url, client, request)).json()) as Record<string, string>;
    assert.equal(await userinfo(first['access_token']!), 200);

    assert.deepEqual(await errorOf(await redeem(gatehouse.url, client, request)), [400, 'invalid_grant']);
    assert.equal(await userinfo(first['access_token']!), 401);
    const refreshed = await redeem(gatehouse.url, client, request, {
      grant_type: 'refresh_token',
      refresh_token: first['refresh_token'],
    });
    assert.deepEqual(await errorOf(refreshed), [400, 'invalid_grant']);
  });

  it('a code redeemed on one node is used up on another whose clock is behind', async () => {
    const behind = await startGatehouse({ beside: gatehouse, clock: () => new Date(Date.now() - 5_000) });
    try {
      const request = await requestCode(gatehouse, client);
      assert.equal((await redeem(gatehouse.url, client, request)).status, 200);
      assert.deepEqual(await errorOf(await redeem(behind.url, client, request)), [400, 'invalid_grant']);
    } finally {
      await behind.stop();
    }
  });

  it('a code that a thief tried with a wrong verifier still works for its owner, once', async () => {
    const request = await requestCode(gatehouse, client);
    assert.equal((await redeem(gatehouse.url, client, request, { code_verifier: 'y'.repeat(43) })).status, 400);
    assert.equal((await redeem(gatehouse.url, client, request)).status, 200);
  });

  it('tells the application when the person says no', async () => {
    const person = new Person(gatehouse, { decision: 'deny' });
    const { callback } = await requestCode(gatehouse, client, { person });
    assert.equal(callback.searchParams.get('error'), 'access_denied');
    assert.equal(callback.searchParams.get('code'), null);
    assert.equal(callback.searchParams.get('iss'), gatehouse.issuer);
  });

  it('answers by form_post where it is asked to, with state and code escaped in the page', async () => {
    const config = await configure(gatehouse, client);
    const state = '"><script>alert(1)</script>';
    const url = openid.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      state,
      response_mode: 'form_post',
      code_challenge: await openid.calculatePKCECodeChallenge('v'.repeat(43)),
      code_challenge_method: 'S256',
    });
    const { page, response } = await new Person(gatehouse).walk(url);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.match(page, new RegExp(`action="${REDIRECT_URI}"`));
    assert.match(page, /name="code" value="[\w-]{43}"/);
    assert.equal(page.includes('<script>alert'), false);
    assert.match(response.headers.get('content-security-policy') ?? '', /script-src 'sha256-/);
  });

  it('sends no person back with their password: every redirect after a form is a 303, never a 307 (AUTH-X11)', async () => {
    const { person } = await requestCode(gatehouse, client);
    const statuses = person.trace.filter((line) => line.startsWith('POST')).map((line) => line.split(' ').at(-1));
    assert.deepEqual([...new Set(statuses)], ['303']);
  });

  it('keeps its cookies from scripts and from other sites (AUTH-X13)', async () => {
    const { person } = await requestCode(gatehouse, client);
    const headers = person.cookieHeaders.map((header) => header.toLowerCase());
    assert.equal(headers.length > 0, true);
    for (const header of headers) {
      assert.match(header, /httponly/);
      assert.match(header, /samesite=lax/);
    }
  });
});
