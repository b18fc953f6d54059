import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  basic,
  configure,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
} from '../support/client/code_flow.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import {
  addressOf,
  CHALLENGE,
  formOf,
  pushRequest,
  sendRequest,
  VERIFIER,
  type Form,
  type Pushed,
} from '../support/client/pushed_requests.ts';

describe('pushed authorization requests (RFC 9126)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const send = (body: URLSearchParams, who = client, headers: Readonly<Record<string, string>> = {}): Promise<Pushed> =>
    sendRequest(gatehouse, who, body, headers);
  const push = (changed: Form = {}, who = client): Promise<string> => pushRequest(gatehouse, who, changed);
  const refuses = async (changed: Form, error: string, who = client): Promise<void> => {
    const { status, body } = await send(formOf(who, changed), who);
    assert.deepEqual([status, body['error'], body['request_uri']], [400, error, undefined]);
  };
  it('gives a request_uri for one minute, and openid-client logs a person in with it', async () => {
    const config = await configure(gatehouse, client);
    const state = openid.randomState();
    const parameters = {
      redirect_uri: REDIRECT_URI,
      scope: 'openid email',
      state,
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
    };
    const url = await openid.buildAuthorizationUrlWithPAR(config, parameters);
    assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri']);
    const callback = await new Person(gatehouse).authorize(url);
    const checks = { pkceCodeVerifier: VERIFIER, expectedState: state };
    const tokens = await openid.authorizationCodeGrant(config, callback, checks);
    assert.equal(tokens.claims()!['email'], gatehouse.account.email);

    const { body } = await send(formOf(client));
    assert.equal(body['expires_in'], 60);
    assert.match(String(body['request_uri']), /^urn:ietf:params:oauth:request_uri:[\w-]{21,}$/);
  });

  it('binds the code to the key of a proof that came along, as oauth4webapi does it with nonces', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const its: oauth.Client = { client_id: spa.client_id };
    const { issuer } = gatehouse;
    const server: oauth.AuthorizationServer = {
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      pushed_authorization_request_endpoint: `${issuer}/par`,
      token_endpoint: `${issuer}/token`,
      authorization_response_iss_parameter_supported: true,
    };
    const DPoP = oauth.DPoP(its, await oauth.generateKeyPair('ES256'));
    const options = { [oauth.allowInsecureRequests]: true, DPoP };
    const pushIt = async (): Promise<oauth.PushedAuthorizationResponse> => {
      const answer = await oauth.pushedAuthorizationRequest(server, its, oauth.None(), formOf(spa), options);
      return oauth.processPushedAuthorizationResponse(server, its, answer);
    };
    await pushIt();
    moveClock(600);
    await assert.rejects(pushIt(), (error) => oauth.isDPoPNonceError(error));
    const { request_uri } = await pushIt();
    const callback = await new Person(gatehouse).authorize(addressOf(gatehouse, spa, request_uri));
    const parameters = oauth.validateAuthResponse(server, its, callback, 'the-state');
    const redeem = (how: object): Promise<Response> =>
      oauth.authorizationCodeGrantRequest(server, its, oauth.None(), parameters, REDIRECT_URI, VERIFIER, {
        [oauth.allowInsecureRequests]: true,
        ...how,
      });
    const without = (await (await redeem({})).json()) as { error: string };
    assert.equal(without.error, 'invalid_dpop_proof');
    const tokens = await oauth.processAuthorizationCodeResponse(server, its, await redeem({ DPoP }));
    assert.equal(tokens.token_type, 'dpop');
  });

  it('takes a proof once here too, and refuses one of another key than dpop_jkt', async () => {
    const key = await makeProofKey();
    const proof = await prove(key, ['POST', `${gatehouse.issuer}/par`]);
    assert.equal((await send(formOf(client), client, { DPoP: proof })).status, 201);
    const again = await send(formOf(client), client, { DPoP: proof });
    assert.deepEqual([again.status, again.body['error']], [400, 'invalid_dpop_proof']);
    const other = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/par`]);
    const mixed = await send(formOf(client, { dpop_jkt: key.thumbprint }), client, { DPoP: other });
    assert.deepEqual([mixed.status, mixed.body['error']], [400, 'invalid_request']);
  });

  describe('are refused at the endpoint', () => {
    it('PAR-02: with a wrong secret, and without the secret that the client has', async () => {
      for (const client_secret of [`${client.client_secret}x`, '']) {
        const { status, body } = await send(formOf(client), { ...client, client_secret });
        assert.deepEqual([status, body['error']], [401, 'invalid_client']);
      }
    });

    it('PAR-04: by GET', async () => {
      const headers = { authorization: basic(client.client_id, client.client_secret) };
      const response = await fetch(`${gatehouse.url}/par?${formOf(client)}`, { headers });
      await response.body?.cancel();
      assert.equal(response.status, 405);
    });

    it('PAR-06: without PKCE, or with the plain method', async () => {
      await refuses({ code_challenge: undefined, code_challenge_method: undefined }, 'invalid_request');
      await refuses({ code_challenge: VERIFIER, code_challenge_method: 'plain' }, 'invalid_request');
    });

    it('with a dpop_jkt that is no thumbprint, with a proof or without (FIELD-C16)', async () => {
      for (const dpop_jkt of ['x', CHALLENGE.slice(1), `${CHALLENGE}=`, 'a'.repeat(64)]) {
        await refuses({ dpop_jkt }, 'invalid_request');
        const DPoP = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/par`]);
        const { status, body } = await send(formOf(client, { dpop_jkt }), client, { DPoP });
        assert.deepEqual([status, body['error']], [400, 'invalid_request']);
        assert.match(String(body['error_description']), /^dpop_jkt must be/);
      }
      assert.match(await push({ dpop_jkt: CHALLENGE }), /^urn:/);
    });

    it('PAR-08: with a parameter given twice', async () => {
      for (const [name, value] of [
        ['scope', 'email'],
        ['client_id', client.client_id],
        ['redirect_uri', REDIRECT_URI],
      ]) {
        const form = formOf(client);
        form.append(name!, value!);
        const { status, body } = await send(form);
        assert.deepEqual([status, body['error']], [400, 'invalid_request'], name);
      }
    });

    it('when they ask for what the client was not given: the policy holds before the person sees a page', async () => {
      const { resource } = gatehouse.demo;
      await refuses({ scope: 'openid notes:everything' }, 'invalid_scope');
      await refuses({ scope: 'openid notes:everything', resource }, 'invalid_scope');
      await refuses({ resource: gatehouse.admin.resource, scope: 'clients:read' }, 'invalid_target');
    });

    it('with a redirect URI that is not registered, and with none', async () => {
      await refuses({ redirect_uri: 'https://evil.example/callback' }, 'invalid_request');
      await refuses({ redirect_uri: undefined }, 'invalid_request');
    });

    it('when they bring a request_uri themselves', async () => {
      const request_uri = await push();
      const { status } = await send(formOf(client, { request_uri }));
      assert.equal(status, 400);
    });

    it('in the name of another client', async () => {
      const other = await registerApplication(gatehouse);
      const { status, body } = await send(formOf(other), client);
      assert.deepEqual([status, body['error']], [400, 'invalid_request']);
    });

    it('with the response types of old', async () => {
      for (const response_type of ['token', 'code id_token', 'none']) {
        await refuses({ response_type }, 'unsupported_response_type');
      }
    });
  });

  describe('a client with require_pushed_authorization_requests', () => {
    let strict: RegisteredClient;
    before(async () => {
      strict = await registerApplication(gatehouse, { require_pushed_authorization_requests: true });
    });

    it('is not served when it has pushed nothing', async () => {
      const { url } = await new Person(gatehouse).walk(`${gatehouse.issuer}/authorize?${formOf(strict)}`);
      const answer = new URL(url).searchParams;
      assert.deepEqual(
        [answer.get('error'), answer.get('state'), answer.get('code')],
        ['invalid_request', 'the-state', null],
      );
    });

    it('is served when it has', async () => {
      const callback = await new Person(gatehouse).authorize(addressOf(gatehouse, strict, await push({}, strict)));
      assert.match(callback.search, /[?&]code=/);
    });

    it('must be one that people log in to', async () => {
      const asked = { require_pushed_authorization_requests: true, grant_types: ['client_credentials'] };
      const answer = await gatehouse.adminCall('POST', '/clients', asked);
      assert.equal(answer.status, 400);
      assert.match(await answer.text(), /require_pushed_authorization_requests/);
    });
  });

  it('are in the audit trail, those that were refused too', async () => {
    const its = await registerApplication(gatehouse);
    await push({ scope: 'openid notes:read', resource: gatehouse.demo.resource }, its);
    await refuses({ scope: 'openid nothing' }, 'invalid_scope', its);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['outcome', 'actor_id', 'details'])
      .where('event', '=', 'authorization_request.pushed')
      .where('client_id', '=', its.client_id)
      .orderBy('occurred_at')
      .execute();
    assert.deepEqual(
      events.map(({ outcome, actor_id, details }) => [outcome, actor_id, details['scope'] ?? details['error']]),
      [
        ['success', its.client_id, 'openid notes:read'],
        ['refused', its.client_id, 'invalid_scope'],
      ],
    );
  });
});
