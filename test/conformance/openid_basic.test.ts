/** The modules of OpenID Connect's basic certification, as it runs them: by query, and once more by form_post. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify, UnsecuredJWT } from 'jose';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { redeem, REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';
import { fillInProfile, loginsOf, PROFILE, RelyingParty, type ResponseMode } from '../support/client/relying_party.ts';

const SCOPE_CLAIMS = {
  profile: ['birthdate', 'family_name', 'gender', 'given_name', 'locale', 'middle_name', 'name', 'nickname']
    .concat(['picture', 'preferred_username', 'profile', 'updated_at', 'website', 'zoneinfo'])
    .sort(),
  email: ['email', 'email_verified'],
  address: ['address'],
  phone: ['phone_number', 'phone_number_verified'],
};

for (const mode of ['query', 'form_post'] satisfies ResponseMode[]) {
  describe(`OpenID Connect's basic profile by ${mode}`, () => {
    let gatehouse: Gatehouse;
    let party: RelyingParty;
    let sub: string;
    /** Logged in, with consent given for all that the tests ask for. */
    let person: Person;
    before(async () => {
      gatehouse = await startGatehouse();
      sub = await fillInProfile(gatehouse);
      party = await RelyingParty.register(gatehouse, mode);
      person = new Person(gatehouse, { remember: true });
      await party.ask(person, { scope: 'openid profile email address phone' });
    });
    after(() => gatehouse.stop());
    afterEach(resetClock);

    it('gives a code, for which there are tokens that tell who logged in (oidcc-server)', async () => {
      const tokens = await party.logIn(new Person(gatehouse), { scope: 'openid' });
      const claims = tokens.claims()!;
      assert.deepEqual([claims.iss, claims.aud, claims.sub], [gatehouse.issuer, party.client.client_id, sub]);
      assert.equal((await openid.fetchUserInfo(party.config, tokens.access_token, sub)).sub, sub);
    });

    it('does so for a client that sends its secret in the body (oidcc-server-client-secret-post)', async () => {
      const its = await RelyingParty.register(gatehouse, mode, { token_endpoint_auth_method: 'client_secret_post' });
      assert.equal((await its.logIn(new Person(gatehouse))).claims()!.sub, sub);
    });

    it('refuses a request without a response type, and gives no code (oidcc-response-type-missing)', async () => {
      const { response_type: _, ...rest } = party.parameters({ state: 's' });
      const { parameters } = party.read(await person.walk(party.url(rest)));
      assert.deepEqual([parameters.get('error'), parameters.get('code')], ['invalid_request', null]);
    });

    it('signs ID tokens with RS256 unless told otherwise, under a key of the JWKS (oidcc-idtoken-signature)', async () => {
      const { id_token } = await party.logIn(person);
      const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
      const { protectedHeader } = await jwtVerify(id_token!, jwks, { audience: party.client.client_id });
      assert.equal(protectedHeader.alg, 'RS256');
      assert.equal(typeof protectedHeader.kid, 'string');
    });

    it('registers no client for unsigned ID tokens (oidcc-idtoken-unsigned)', async () => {
      const metadata = { redirect_uris: [REDIRECT_URI], id_token_signed_response_alg: 'none' };
      const answer = await gatehouse.adminCall('POST', '/clients', metadata);
      assert.equal(answer.status, 400);
      assert.match(await answer.text(), /id_token_signed_response_alg/);
    });

    for (const how of ['get', 'post-header', 'post-body'] as const) {
      it(`tells the same at userinfo, however the token comes (oidcc-userinfo-${how})`, async () => {
        const { access_token } = await party.logIn(person);
        assert.deepEqual(await party.userinfo(access_token, how), { sub });
      });
    }

    it('needs no nonce (oidcc-ensure-request-without-nonce-succeeds-for-code-flow)', async () => {
      const answer = await party.ask(person, { state: 's' });
      const tokens = await party.redeem(answer, { expectedState: 's' });
      assert.equal('nonce' in tokens.claims()!, false);
    });

    for (const [scope, names] of Object.entries(SCOPE_CLAIMS)) {
      it(`tells at userinfo exactly what the scope is for (oidcc-scope-${scope})`, async () => {
        const { access_token } = await party.logIn(person, { scope: `openid ${scope}` });
        const { sub: its, ...told } = await party.userinfo(access_token);
        assert.equal(its, sub);
        assert.deepEqual(Object.keys(told).sort(), names);
        for (const [name, value] of Object.entries(PROFILE))
          if (name in told) assert.deepEqual(told[name], value, name);
      });
    }

    it('tells everything where everything is asked for (oidcc-scope-all)', async () => {
      const { access_token } = await party.logIn(person, { scope: 'openid profile email address phone' });
      const told = Object.keys(await party.userinfo(access_token)).sort();
      assert.deepEqual(told, ['sub', ...Object.values(SCOPE_CLAIMS).flat()].sort());
    });

    it('cares neither for the order of scopes nor of parameters (oidcc-alternate-happy-flow)', async () => {
      const backwards = Object.entries({ ...party.parameters({ state: 's' }), scope: 'email openid' }).toReversed();
      const answer = party.read(await person.walk(party.url(Object.fromEntries(backwards))));
      const { access_token } = await party.redeem(answer, { expectedState: 's' });
      assert.deepEqual(Object.keys(await party.userinfo(access_token)).sort(), ['email', 'email_verified', 'sub']);
    });

    for (const [module, parameters] of Object.entries({
      'oidcc-display-page': { display: 'page' },
      'oidcc-display-popup': { display: 'popup' },
      'oidcc-ui-locales': { ui_locales: 'se' },
      'oidcc-claims-locales': { claims_locales: 'se' },
      'oidcc-ensure-request-with-unknown-parameter-succeeds': { extra: 'foobar' },
    })) {
      it(`works with ${JSON.stringify(parameters)} (${module})`, async () => {
        const answer = await party.logIn(new Person(gatehouse), parameters);
        assert.equal(answer.claims()!.sub, sub);
      });
    }

    it('fills in the address that the application believes is the person’s (oidcc-login-hint)', async () => {
      const somebody = new Person(gatehouse);
      const arrival = await somebody.open(party.url(party.parameters({ login_hint: 'someone@example.com' })));
      assert.match(arrival.page, /name="email"[^>]* value="someone@example\.com"/);
      assert.ok(party.read(await somebody.finish(arrival)).parameters.has('code'));
    });

    it('asks for the password again, and says when it was given (oidcc-prompt-login)', async () => {
      const somebody = new Person(gatehouse);
      const first = (await party.logIn(somebody)).claims()!;
      moveClock(2);
      const second = (await party.logIn(somebody, { prompt: 'login' })).claims()!;
      assert.equal(loginsOf(somebody), 2);
      assert.ok(Number(second.auth_time) > Number(first.auth_time));
      assert.equal(second.sub, first.sub);
    });

    it('shows no page to a person who is not logged in, with prompt=none (oidcc-prompt-none-not-logged-in)', async () => {
      const { parameters } = await party.ask(new Person(gatehouse), { prompt: 'none', state: 's' });
      assert.deepEqual(
        ['error', 'state', 'iss', 'code'].map((name) => parameters.get(name)),
        ['login_required', 's', gatehouse.issuer, null],
      );
    });

    it('answers at once for a person who is logged in, and keeps to that login (oidcc-prompt-none-logged-in)', async () => {
      const somebody = new Person(gatehouse);
      const first = (await party.logIn(somebody)).claims()!;
      moveClock(2);
      const second = (await party.logIn(somebody, { prompt: 'none' })).claims()!;
      assert.equal(loginsOf(somebody), 1);
      assert.deepEqual([second.sub, second.auth_time], [first.sub, first.auth_time]);
    });

    it('asks for the password again where the login is too old (oidcc-max-age-1)', async () => {
      const somebody = new Person(gatehouse);
      const first = (await party.logIn(somebody, { max_age: '1' })).claims()!;
      moveClock(3);
      const second = (await party.logIn(somebody, { max_age: '1' })).claims()!;
      assert.equal(loginsOf(somebody), 2);
      assert.ok(Number(second.auth_time) >= Number(first.auth_time) + 3);
    });

    it('does not where it is recent enough (oidcc-max-age-10000)', async () => {
      const somebody = new Person(gatehouse);
      const first = (await party.logIn(somebody)).claims()!;
      moveClock(2);
      const second = (await party.logIn(somebody, { max_age: '10000' })).claims()!;
      assert.equal(loginsOf(somebody), 1);
      assert.deepEqual([second.sub, second.auth_time], [first.sub, first.auth_time]);
    });

    it('knows a person by an ID token that it gave before (oidcc-id-token-hint)', async () => {
      const { id_token } = await party.logIn(person);
      const again = await party.logIn(person, { prompt: 'none', id_token_hint: id_token! });
      assert.equal(again.claims()!.sub, sub);
    });

    it('takes wishes for a stronger login for wishes (oidcc-ensure-request-with-acr-values-succeeds)', async () => {
      const tokens = await party.logIn(person, { acr_values: '1 2' });
      assert.equal(tokens.claims()!['acr'], 'urn:gatehouse:acr:password');
    });

    it('gives a single claim to a client that says that it is essential (oidcc-claims-essential)', async () => {
      const claims = JSON.stringify({ userinfo: { name: { essential: true } } });
      const { access_token } = await party.logIn(person, { claims });
      assert.deepEqual(await party.userinfo(access_token), { sub, name: 'Demo Person' });
    });

    for (const [module, seconds] of Object.entries({ 'oidcc-codereuse': 0, 'oidcc-codereuse-30seconds': 30 })) {
      it(`takes a code once, and ends what it gave when it is used again (${module})`, async () => {
        const answer = await party.ask(person);
        const code = answer.parameters.get('code')!;
        const { access_token } = await party.redeem(answer);
        moveClock(seconds);
        const again = await redeem(gatehouse.url, party.client, { code, verifier: '' }, { code_verifier: undefined });
        assert.deepEqual([again.status, ((await again.json()) as { error: string }).error], [400, 'invalid_grant']);
        const told = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
        assert.equal(told.status, 401);
        await told.body?.cancel();
      });
    }

    it('sends no browser to an address that is not registered (oidcc-ensure-registered-redirect-uri)', async () => {
      const other = party.parameters({ redirect_uri: 'https://app.example.com/other' });
      const { url, response, page } = await person.walk(party.url(other));
      assert.equal(new URL(url).origin, new URL(gatehouse.issuer).origin);
      assert.equal(response.status, 400);
      assert.match(page, /invalid_redirect_uri/);
    });

    it('takes requests by POST too (oidcc-ensure-post-request-succeeds)', async () => {
      const body = new URLSearchParams(party.parameters({ state: 's' }));
      const arrival = await person.open(`${gatehouse.issuer}/authorize`, { method: 'POST', body });
      const tokens = await party.redeem(party.read(arrival), { expectedState: 's' });
      assert.equal(tokens.claims()!.sub, sub);
    });

    it('fetches no request by its address, and says so (oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported)', async () => {
      const { parameters } = await party.ask(person, {
        request_uri: 'https://app.example.com/request.jwt',
        state: 's',
      });
      assert.deepEqual([parameters.get('error'), parameters.get('state')], ['request_uri_not_supported', 's']);
    });

    it('takes no unsigned request object, and says so (oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported)', async () => {
      const request = new UnsecuredJWT(party.parameters())
        .setIssuer(party.client.client_id)
        .setAudience(gatehouse.issuer);
      const { parameters } = await party.ask(person, { request: request.encode(), state: 's' });
      assert.deepEqual([parameters.get('error'), parameters.get('code')], ['invalid_request_object', null]);
    });

    it('sends no browser to the address beside a request object (oidcc-ensure-request-object-with-redirect-uri)', async () => {
      const request = new UnsecuredJWT(party.parameters())
        .setIssuer(party.client.client_id)
        .setAudience(gatehouse.issuer);
      const outside = { request: request.encode(), redirect_uri: 'https://evil.example/callback' };
      const { url, response } = await person.walk(party.url(party.parameters(outside)));
      assert.equal(new URL(url).origin, new URL(gatehouse.issuer).origin);
      assert.equal(response.status, 400);
    });

    it('gives a refresh token that works for its own client alone (oidcc-refresh-token)', async () => {
      const tokens = await party.logIn(person);
      const renewed = await openid.refreshTokenGrant(party.config, tokens.refresh_token!);
      const [first, second] = [tokens.claims()!, renewed.claims()!];
      for (const claim of ['iss', 'sub', 'aud', 'auth_time']) assert.deepEqual(second[claim], first[claim], claim);
      assert.notEqual(renewed.access_token, tokens.access_token);

      const other = await registerApplication(gatehouse);
      const stolen = { grant_type: 'refresh_token', refresh_token: renewed.refresh_token };
      const answer = await redeem(gatehouse.url, other, { code: '', verifier: '' }, { ...stolen, code: undefined });
      assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [400, 'invalid_grant']);
    });

    it('takes a challenge from each client that sends one (oidcc-ensure-request-with-valid-pkce-succeeds)', async () => {
      const pkceCodeVerifier = openid.randomPKCECodeVerifier();
      const code_challenge = await openid.calculatePKCECodeChallenge(pkceCodeVerifier);
      const answer = await party.ask(person, { code_challenge, code_challenge_method: 'S256' });
      assert.equal((await party.redeem(answer, { pkceCodeVerifier })).claims()!.sub, sub);
    });
  });
}
