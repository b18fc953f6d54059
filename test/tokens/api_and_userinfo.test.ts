import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { Admin } from '../support/client/admin.ts';
import {
  configure,
  redeem,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
  type SignIn,
} from '../support/client/code_flow.ts';
import { athOf, makeProofKey, prove } from '../support/client/dpop.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { addTo, demoAccountId, makeRole } from '../support/client/roles.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { json } from '../../src/db/connection.ts';
import {
  ask as askCustomer,
  decide,
  openPage,
  pageOf,
  poll as pollTill,
  registerTill,
} from '../support/client/backchannel.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const SCOPE = 'openid profile email notes:read';

describe('an access token for an API and userinfo', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let application: RegisteredClient;
  let resourceServer: RegisteredClient;
  let api: string;
  let both: string[];
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    application = await registerApplication(gatehouse);
    api = gatehouse.demo.resource;
    both = [api, `${gatehouse.issuer}/userinfo`];
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [api] });
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const logIn = (client = application, more: SignIn = {}) => signIn(gatehouse, client, { scope: SCOPE, ...more });
  const userinfo = async (token: string, headers: Readonly<Record<string, string>> = {}) => {
    const response = await fetch(`${gatehouse.url}/userinfo`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
    });
    const body = (await response.json()) as Record<string, unknown>;
    return { status: response.status, error: body['error'], body };
  };
  const introspect = async (token: string, who: RegisteredClient, node = gatehouse, query = '') => {
    const response = await postForm(`${node.url}/introspect${query}`, { token }, who);
    return (await response.json()) as Record<string, unknown>;
  };
  const verify = (token: string) =>
    jwtVerify(token, createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`)), {
      issuer: gatehouse.issuer,
      audience: api,
      typ: 'at+jwt',
    });

  it('is what openid-client gets for openid and scopes of an API, from the code and from each refresh (FIELD-C1)', async () => {
    const { config, tokens } = await logIn();
    const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    for (const { access_token, scope } of [tokens, refreshed]) {
      assert.equal(scope, SCOPE);
      const { payload } = await verify(access_token);
      assert.deepEqual([payload.aud, payload['scope']], [both, SCOPE]);
      const claims = await openid.fetchUserInfo(config, access_token, tokens.claims()!.sub);
      assert.equal(claims.email, gatehouse.account.email);
    }
  });

  it('works for oauth4webapi, with a public client, on the ordinary path (FIELD-C1)', async () => {
    const registered = await registerPublicApplication(gatehouse);
    const { tokens } = await logIn(registered);
    const spa = { client_id: registered.client_id };
    const as = { issuer: gatehouse.issuer, userinfo_endpoint: `${gatehouse.issuer}/userinfo` };
    const insecure = { [oauth.allowInsecureRequests]: true };
    const response = await oauth.userInfoRequest(as, spa, tokens.access_token, insecure);
    const { sub } = tokens.claims()!;
    const claims = await oauth.processUserInfoResponse(as, spa, sub, response);
    assert.equal(claims.email, gatehouse.account.email);
    assert.deepEqual((await verify(tokens.access_token)).payload.aud, both);
  });

  it('is asked for by a pushed request, too (FIELD-C1)', async () => {
    const config = await configure(gatehouse, application);
    const verifier = openid.randomPKCECodeVerifier();
    const url = await openid.buildAuthorizationUrlWithPAR(config, {
      redirect_uri: 'https://app.example.com/callback',
      scope: SCOPE,
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    const callback = await new Person(gatehouse).authorize(url);
    const tokens = await openid.authorizationCodeGrant(config, callback, { pkceCodeVerifier: verifier });
    assert.deepEqual(decodeJwt(tokens.access_token).aud, both);
  });

  it('gives pairwise subjects at userinfo that are those of the ID token (FIELD-C1)', async () => {
    const { tokens } = await logIn(await registerApplication(gatehouse, { subject_type: 'pairwise' }));
    const { body } = await userinfo(tokens.access_token);
    assert.equal(body['sub'], tokens.claims()!.sub);
    assert.equal(decodeJwt(tokens.access_token).sub, tokens.claims()!.sub);
  });

  it('gives single claims at userinfo that the client asked for, and the person granted (FIELD-C1)', async () => {
    const claims = JSON.stringify({ userinfo: { email_verified: null, unheard_of: null } });
    const { tokens } = await logIn(application, { scope: 'openid notes:read', parameters: { claims } });
    const { body } = await userinfo(tokens.access_token);
    assert.deepEqual(Object.keys(body).toSorted(), ['email_verified', 'sub']);
    assert.ok(!('userinfo_claims' in (await introspect(tokens.access_token, application))));
  });

  describe('is for the API alone', () => {
    const apiAlone = async (client: RegisteredClient, more: SignIn = {}): Promise<void> => {
      const { tokens } = await logIn(client, more);
      const { aud, scope } = decodeJwt(tokens.access_token);
      assert.equal(typeof aud, 'string');
      assert.ok(!String(scope).includes('openid'));
      assert.equal(tokens.scope, scope);
      assert.equal((await userinfo(tokens.access_token)).status, 401);
    };

    it('where the request names the API (FIELD-C1)', () => apiAlone(application, { parameters: { resource: api } }));

    it('where the request does not ask for openid (FIELD-C1)', () => apiAlone(application, { scope: 'notes:read' }));

    it('where the client or the API does not permit it (FIELD-C1)', async () => {
      await apiAlone(await registerApplication(gatehouse, { userinfo_audience: false }));
      const files = await registerResource(gatehouse, 'files', { userinfo_audience: false });
      await apiAlone(await registerApplication(gatehouse, { resources: [files] }), { scope: 'openid files:read' });
    });

    it('where the API is the admin API (FIELD-C1)', async () => {
      const resource = `${gatehouse.issuer}/admin/v1`;
      const client = await registerApplication(gatehouse, { resources: [{ resource, scopes: ['keys:read'] }] });
      await addTo(admin, await makeRole(admin, resource, 'keys:read'), await demoAccountId(admin));
      await apiAlone(client, { scope: 'openid keys:read' });
    });

    it('where the client names the API at the token endpoint, or asks there for no openid (FIELD-C1)', async () => {
      const { code, verifier, config } = await requestCode(gatehouse, application, { scope: SCOPE });
      const answer = await redeem(gatehouse.url, application, { code, verifier }, { resource: api });
      const first = (await answer.json()) as { access_token: string; refresh_token: string; scope: string };
      assert.deepEqual([decodeJwt(first.access_token).aud, first.scope], [api, 'notes:read']);
      const narrow = await openid.refreshTokenGrant(config, first.refresh_token, { scope: 'notes:read' });
      assert.deepEqual([decodeJwt(narrow.access_token).aud, narrow.scope], [api, 'notes:read']);
      const wide = await openid.refreshTokenGrant(config, narrow.refresh_token!);
      assert.deepEqual(decodeJwt(wide.access_token).aud, both);
    });
  });

  describe('gives an API what the person lets it read', () => {
    const ask = async (
      client: RegisteredClient,
      scope: string,
      person: Person,
      parameters: SignIn['parameters'] = {},
    ) => {
      const { callback } = await requestCode(gatehouse, client, { scope, person, parameters });
      return callback.searchParams.get('error');
    };
    const none = { prompt: 'none' };
    const email = { claims: JSON.stringify({ userinfo: { email: null } }) };
    const remembers = () => new Person(gatehouse, { remember: true });
    /** Gets a code only where a remembered consent is enough. */
    const denies = () => new Person(gatehouse, { decision: 'deny' });
    const registerBoth = async (name: string) => {
      const files = await registerResource(gatehouse, name);
      const resources = [{ resource: api, scopes: ['notes:read'] }, files];
      return { files, client: await registerApplication(gatehouse, { resources }) };
    };
    const grantsOf = ({ client_id }: RegisteredClient) =>
      gatehouse.database
        .selectFrom('grants')
        .select(['grant_id', 'payload'])
        .where('client_id', '=', client_id)
        .execute();

    it('and asks again for another API (FIELD-C1)', async () => {
      const { client, files } = await registerBoth('per-api');
      const scope = `openid email ${files.scopes[0]}`;
      const person = remembers();
      assert.equal(await ask(client, files.scopes[0]!, person), null);
      assert.equal(await ask(client, 'openid email notes:read', person), null);
      assert.equal(await ask(client, scope, person, none), 'consent_required');
      assert.equal(await ask(client, 'openid email notes:read', denies()), null);
      assert.equal(await ask(client, scope, denies()), 'access_denied');
      const { page } = await person.open(`${gatehouse.issuer}/account/applications`);
      assert.ok(page.includes('Let Notes see your e-mail address too'));
      assert.ok(!page.includes(`Let ${files.resource} see`));
      assert.equal(await ask(client, scope, person), null);
      assert.equal(await ask(client, scope, person, none), null);
      assert.equal(await ask(client, scope, denies()), null);
    });

    it('and asks for single claims as for scopes (FIELD-C1)', async () => {
      const { client, files } = await registerBoth('claims-per-api');
      const person = remembers();
      assert.equal(await ask(client, 'openid notes:read', person), null);
      assert.equal(await ask(client, 'openid', person, email), null);
      assert.equal(await ask(client, 'openid notes:read', person, { ...email, ...none }), 'consent_required');
      const { page } = await person.open(
        `${gatehouse.issuer}/authorize?${authorizationRequest(client, { scope: 'openid notes:read', ...email })}`,
      );
      assert.ok(page.includes('Let Notes see your e-mail address too'));
      const { tokens } = await logIn(client, { scope: 'openid notes:read', parameters: email, person });
      assert.equal((await userinfo(tokens.access_token)).body['email'], gatehouse.account.email);
      assert.equal(await ask(client, 'openid notes:read', person, { ...email, ...none }), null);
      const filesScope = `openid ${files.scopes[0]}`;
      assert.equal(await ask(client, filesScope, person), null);
      assert.equal(await ask(client, filesScope, person, { ...email, ...none }), 'consent_required');
      assert.equal(await ask(client, 'openid notes:read', denies(), email), null);
      assert.equal(await ask(client, filesScope, denies(), email), 'access_denied');
    });

    it('and a claim that was allowed for it needs no second question with its scope (FIELD-C1)', async () => {
      const person = remembers();
      const client = await registerApplication(gatehouse);
      const { tokens } = await logIn(client, { scope: 'openid email notes:read', parameters: email, person });
      assert.equal((await userinfo(tokens.access_token)).body['email'], gatehouse.account.email);
      const [grant] = await grantsOf(client);
      assert.deepEqual(grant?.payload['resources'], { [api]: 'email notes:read' });
    });

    it('at the device and on the approval page too (FIELD-C1)', async () => {
      const device = await registerDevice(gatehouse);
      const asked = await requestDevice(gatehouse, device, { scope: 'openid notes:read', ...email });
      const confirmed = await connectDevice(gatehouse, asked.user_code);
      assert.ok(confirmed.page.length > 0);
      const ofDevice = await poll(gatehouse, device, asked.device_code);
      assert.equal((await userinfo(ofDevice.access_token!)).body['email'], gatehouse.account.email);
      const till = await registerTill(gatehouse);
      const request = await askCustomer(gatehouse, till, { scope: 'openid profile notes:read', ...email });
      const { page } = await openPage(pageOf(gatehouse, request), new Person(gatehouse));
      assert.ok(page.includes('Let Notes see your e-mail address too'));
      assert.ok(page.includes('Let Notes see your name and the rest of your profile'));
      await decide(gatehouse, request, 'approve');
      const ofTill = await pollTill(gatehouse, till, request);
      assert.equal((await userinfo(ofTill.access_token!)).body['email'], gatehouse.account.email);
      const [grant] = await grantsOf(till);
      assert.deepEqual(grant?.payload['resources'], { [api]: 'notes:read profile "email"' });
    });

    it('and nothing for a grant that names userinfo instead of the API, on both paths (FIELD-C1)', async () => {
      const client = await registerApplication(gatehouse, { id_token_signed_response_alg: 'ES256' });
      const twice = new BothPaths(gatehouse);
      const { tokens } = await logIn(client, { scope: 'openid email notes:read' });
      const forms = await twice.refreshes(client, { scope: 'openid email notes:read' });
      const resources = { [api]: 'notes:read', [`${gatehouse.issuer}/userinfo`]: 'email' };
      for (const { grant_id, payload } of await grantsOf(client)) {
        const changed = json({ ...payload, resources });
        await gatehouse.database
          .updateTable('grants')
          .set({ payload: changed })
          .where('grant_id', '=', grant_id)
          .execute();
      }
      const { taken, lean } = await twice.compare(forms, client, 'refresh');
      assert.deepEqual([taken, lean.body['scope']], [true, 'openid notes:read']);
      assert.ok(!('email' in (await userinfo(tokens.access_token)).body));
      assert.equal((await introspect(tokens.access_token, resourceServer))['username'], undefined);
    });
  });

  it('is refused to a request that names userinfo without an API, or after the login (FIELD-C1)', async () => {
    const named = await requestCode(gatehouse, application, {
      scope: 'openid email',
      parameters: { resource: `${gatehouse.issuer}/userinfo` },
    });
    assert.equal(named.callback.searchParams.get('error'), 'invalid_target');
    const { tokens } = await logIn();
    const form = {
      grant_type: 'refresh_token',
      refresh_token: tokens.refresh_token!,
      resource: `${gatehouse.issuer}/userinfo`,
    };
    const refused = await postForm(`${gatehouse.url}/token`, form, application);
    assert.deepEqual([refused.status, ((await refused.json()) as { error: string }).error], [400, 'invalid_target']);
  });

  it('is what a device gets, too (FIELD-C1)', async () => {
    const device = await registerDevice(gatehouse);
    const { user_code, device_code } = await requestDevice(gatehouse, device, { scope: SCOPE });
    await connectDevice(gatehouse, user_code);
    const tokens = await poll(gatehouse, device, device_code);
    assert.deepEqual(decodeJwt(tokens.access_token!).aud, both);
    assert.equal((await userinfo(tokens.access_token!)).body['email'], gatehouse.account.email);
  });

  describe('at userinfo', () => {
    it('is refused when its grant has ended, when it was revoked, and when it has expired (FIELD-C1)', async () => {
      const revoked = await logIn();
      await postForm(`${gatehouse.url}/revoke`, { token: revoked.tokens.access_token }, application);
      assert.equal((await userinfo(revoked.tokens.access_token)).status, 401);
      const ended = await logIn();
      await postForm(`${gatehouse.url}/revoke`, { token: ended.tokens.refresh_token! }, application);
      const { gid } = decodeJwt(ended.tokens.access_token);
      await gatehouse.database.deleteFrom('grants').where('grant_id', '=', digestOf(gid)).execute();
      assert.equal((await userinfo(ended.tokens.access_token)).status, 401);
      const { tokens } = await logIn();
      moveClock(601);
      assert.equal((await userinfo(tokens.access_token)).status, 401);
    });

    it('gives only what the client and the API may have today (FIELD-C1)', async () => {
      const client = await registerApplication(gatehouse);
      const { tokens } = await logIn(client);
      const opaque = await logIn(client, { scope: 'openid profile email' });
      await admin.patch(`/clients/${client.client_id}`, { scope: 'openid profile' });
      for (const { access_token } of [tokens, opaque.tokens]) {
        await eventually(async () => !('email' in (await userinfo(access_token)).body));
        const { status, body } = await userinfo(access_token);
        assert.deepEqual([status, body['sub']], [200, tokens.claims()!.sub]);
      }
      await admin.patch(`/clients/${client.client_id}`, { userinfo_audience: false });
      await eventually(async () => (await userinfo(tokens.access_token)).status === 401);
      assert.equal((await userinfo(opaque.tokens.access_token)).status, 200);
      await admin.patch(`/clients/${client.client_id}`, { scope: 'profile' });
      await eventually(async () => (await userinfo(opaque.tokens.access_token)).error === 'insufficient_scope');
    });

    it('is refused without a proof of the key that it is bound to (FIELD-C1)', async () => {
      const spa = await registerPublicApplication(gatehouse);
      const key = await makeProofKey();
      const { code, verifier } = await requestCode(gatehouse, spa, { scope: SCOPE });
      const response = await fetch(`${gatehouse.url}/token`, {
        method: 'POST',
        headers: { dpop: await prove(key, ['POST', `${gatehouse.issuer}/token`]) },
        body: new URLSearchParams({
          grant_type: 'authorization_code',
          client_id: spa.client_id,
          redirect_uri: 'https://app.example.com/callback',
          code,
          code_verifier: verifier,
        }),
      });
      const { access_token: token } = (await response.json()) as { access_token: string };
      const address = ['GET', `${gatehouse.issuer}/userinfo`] as const;
      const withProof = async (its: typeof key) => {
        const dpop = await prove(its, address, { claims: { ath: athOf(token) } });
        return userinfo(token, { authorization: `DPoP ${token}`, dpop });
      };
      assert.equal((await userinfo(token)).status, 401);
      assert.equal((await withProof(await makeProofKey())).status, 401);
      const { status, body } = await withProof(key);
      assert.deepEqual([status, body['email']], [200, gatehouse.account.email]);
    });

    it('is refused for a token of the API alone, whatever its scope says (FIELD-C1)', async () => {
      const { tokens } = await logIn(application, { parameters: { resource: api } });
      assert.deepEqual(await userinfo(tokens.access_token).then(({ status, error }) => [status, error]), [
        401,
        'invalid_token',
      ]);
    });
  });

  describe('when it is introspected', () => {
    const paths = [
      ['the fast path', ''],
      ['the ordinary path', '?ordinary'],
    ] as const;
    for (const [path, query] of paths) {
      it(`shows the API its own scopes and its client all of them, on ${path} (FIELD-C1)`, async () => {
        const { tokens } = await logIn();
        const toApi = await introspect(tokens.access_token, resourceServer, second, query);
        assert.deepEqual([toApi['active'], toApi['aud'], toApi['scope']], [true, both, 'notes:read']);
        const toClient = await introspect(tokens.access_token, application, second, query);
        assert.deepEqual([toClient['aud'], toClient['scope']], [both, SCOPE]);
      });

      it(`has a username, where the token gives the e-mail address at userinfo, on ${path} (FIELD-C16)`, async () => {
        const { email } = gatehouse.account;
        const { tokens } = await logIn();
        assert.equal((await introspect(tokens.access_token, resourceServer, second, query))['username'], email);
        assert.equal((await introspect(tokens.access_token, application, second, query))['username'], email);
        const without = await logIn(application, { scope: 'openid profile notes:read' });
        const alone = await logIn(application, { parameters: { resource: api } });
        for (const { access_token } of [without.tokens, alone.tokens]) {
          const told = await introspect(access_token, resourceServer, second, query);
          assert.deepEqual([told['active'], told['username']], [true, undefined]);
        }
      });
    }

    it('has a username for opaque tokens, too (FIELD-C16)', async () => {
      const { email } = gatehouse.account;
      const { tokens } = await logIn(application, { scope: 'openid email' });
      assert.equal((await introspect(tokens.access_token, application))['username'], email);
      assert.equal((await introspect(tokens.refresh_token!, application))['username'], email);
      const { tokens: without } = await logIn(application, { scope: 'openid' });
      assert.equal((await introspect(without.access_token, application))['username'], undefined);
    });
  });

  it('is listed for admins with its API and userinfo, and recorded so (FIELD-C1)', async () => {
    for (const client of [await registerApplication(gatehouse), await registerPublicApplication(gatehouse)]) {
      const { tokens } = await logIn(client);
      const { jti } = decodeJwt(tokens.access_token);
      const { items } = (await admin.get(`/clients/${client.client_id}/tokens`)).body;
      const listed = items.find((one) => one['jti'] === jti);
      assert.deepEqual([listed?.['resource'], listed?.['with_userinfo'], listed?.['scope']], [api, true, SCOPE]);
    }
  });

  it('is exchanged as a token of its API, for one with one audience (FIELD-C1)', async () => {
    const billing = await registerResource(gatehouse, 'billing');
    const backend = await registerClient(gatehouse, {
      resources: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:token-exchange'],
    });
    await admin.post('/exchange-policies', {
      client_id: backend.client_id,
      subject_resource: api,
      resource: billing.resource,
      mode: 'delegation',
      scopes: [{ from: 'notes:read', scope: 'billing:read' }],
    });
    const { tokens } = await logIn();
    const form = {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: tokens.access_token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: billing.resource,
    };
    const response = await postForm(`${gatehouse.url}/token`, form, backend);
    const body = (await response.json()) as { access_token: string; scope: string };
    assert.equal(response.status, 200, JSON.stringify(body));
    assert.deepEqual([decodeJwt(body.access_token).aud, body.scope], [billing.resource, 'billing:read']);
    assert.equal((await userinfo(body.access_token)).status, 401);
  });

  it('is never taken by the admin API (FIELD-C1)', async () => {
    const { tokens } = await logIn();
    const response = await fetch(`${gatehouse.url}/admin/v1/keys`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    await response.body?.cancel();
    assert.equal(response.status, 401);
  });
});

function digestOf(reference: unknown): never {
  return Buffer.from(String(reference), 'base64url') as never;
}
