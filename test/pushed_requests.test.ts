import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { removeExpiredRows } from '../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from './support/clock.ts';
import { basic, configure, REDIRECT_URI, registerApplication, registerPublicApplication } from './support/code_flow.ts';
import { makeProofKey, prove } from './support/dpop.ts';
import { everythingStored } from './support/everything_stored.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { type RegisteredClient } from './support/operator.ts';
import { Person } from './support/person.ts';

const VERIFIER = 'v'.repeat(43);

type Form = Readonly<Record<string, string | undefined>>;

interface Pushed {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A browser that the load balancer leads to one node, whatever address the server says. */
class PersonAt extends Person {
  readonly #from: string;
  readonly #to: string;

  constructor(gatehouse: Gatehouse, node: Gatehouse) {
    super(gatehouse);
    this.#from = gatehouse.issuer;
    this.#to = node.url;
  }

  override fetch(url: string | URL, init: RequestInit = {}): Promise<Response> {
    return super.fetch(String(url).replace(this.#from, this.#to), init);
  }
}

describe('pushed authorization requests (RFC 9126)', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let challenge: string;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    client = await registerApplication(gatehouse);
    challenge = await openid.calculatePKCECodeChallenge(VERIFIER);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const formOf = ({ client_id }: RegisteredClient, changed: Form = {}): URLSearchParams => {
    const form: Form = {
      client_id,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      state: 'the-state',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      ...changed,
    };
    const given = Object.entries(form).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
    return new URLSearchParams(given);
  };
  const send = async (
    body: URLSearchParams,
    who: RegisteredClient = client,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Pushed> => {
    const authorization = who.client_secret === '' ? undefined : basic(who.client_id, who.client_secret);
    const response = await fetch(`${gatehouse.url}/par`, {
      method: 'POST',
      headers: { ...(authorization !== undefined && { authorization }), ...headers },
      body,
    });
    return { status: response.status, body: (await response.json()) as Pushed['body'] };
  };
  const push = async (changed: Form = {}, who = client): Promise<string> => {
    const { status, body } = await send(formOf(who, changed), who);
    assert.equal(status, 201, JSON.stringify(body));
    return String(body['request_uri']);
  };
  const urlOf = (request_uri: string, { client_id } = client, more: Readonly<Record<string, string>> = {}): string =>
    `${gatehouse.issuer}/authorize?${new URLSearchParams({ client_id, request_uri, ...more })}`;
  const refuses = async (changed: Form, error: string, who = client): Promise<void> => {
    const { status, body } = await send(formOf(who, changed), who);
    assert.deepEqual([status, body['error'], body['request_uri']], [400, error, undefined]);
  };
  /** The server says no on a page of its own, and sends nobody anywhere. */
  const refusesToOpen = async (url: string, code = 'invalid_request_uri'): Promise<void> => {
    const { url: at, response, page } = await new Person(gatehouse).open(url);
    assert.deepEqual([response.status, at], [400, url]);
    assert.match(page, new RegExp(code));
  };

  it('gives a request_uri for one minute, and openid-client logs a person in with it', async () => {
    const config = await configure(gatehouse, client);
    const state = openid.randomState();
    const parameters = {
      redirect_uri: REDIRECT_URI,
      scope: 'openid email',
      state,
      code_challenge: challenge,
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
    const callback = await new Person(gatehouse).authorize(urlOf(request_uri, spa));
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

    it('when they ask for what the client was not given: the policy holds before anybody sees a page', async () => {
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

  describe('a request_uri', () => {
    it('PAR-10: is worth one login: opened again after that, it is refused', async () => {
      const url = urlOf(await push());
      const person = new Person(gatehouse);
      assert.match((await person.authorize(url)).search, /[?&]code=/);
      await refusesToOpen(url);
      const again = await person.open(url);
      assert.deepEqual([again.response.status, again.url], [400, url]);
    });

    it('may be opened again before anybody has logged in with it (FAPI 2.0)', async () => {
      const url = urlOf(await push());
      const person = new Person(gatehouse);
      for (let visit = 0; visit < 3; visit++) assert.match((await person.open(url)).url, /\/interaction\//);
      const callback = await person.authorize(url);
      assert.equal(callback.searchParams.get('state'), 'the-state');
      assert.match(callback.searchParams.get('code') ?? '', /^[\w-]{43}$/);
    });

    it('that six windows of a logged-in person use at once on two nodes gives one of them a code', async () => {
      const person = new Person(gatehouse);
      await person.authorize(urlOf(await push()));
      const url = urlOf(await push());
      const windows = Array.from({ length: 6 }, (_, index) => {
        const browser = new PersonAt(gatehouse, index % 2 ? second : gatehouse);
        for (const [name, cookie] of person.cookies) browser.cookies.set(name, cookie);
        return browser;
      });
      const callbacks = await Promise.all(windows.map((browser) => browser.walk(url)));
      const outcomes = callbacks.map(({ url: at, page }) => {
        if (!at.startsWith(REDIRECT_URI)) return /invalid_request_uri/.exec(page)?.[0];
        const answer = new URL(at).searchParams;
        return answer.has('code') ? 'code' : answer.get('error');
      });
      assert.equal(outcomes.filter((outcome) => outcome === 'code').length, 1);
      assert.deepEqual(new Set(outcomes), new Set(['code', 'invalid_request_uri']));
    });

    it('gives one code to two windows that were left open for half an hour', async () => {
      const url = urlOf(await push());
      const people = [new Person(gatehouse), new Person(gatehouse)] as const;
      const pages = await Promise.all(people.map((person) => person.open(url)));
      moveClock(1_500);
      await removeExpiredRows(gatehouse.database, new Date());
      const [first, late] = [await people[0].walk(pages[0]!.url), await people[1].walk(pages[1]!.url)];
      assert.match(first.url, /[?&]code=/);
      assert.equal(new URL(late.url).searchParams.get('error'), 'invalid_request_uri');
      assert.equal(new URL(late.url).searchParams.get('code'), null);
    });

    it('whose row is gone gives no code, for nobody can say whether it was used', async () => {
      const person = new Person(gatehouse);
      const { url: page } = await person.open(urlOf(await push()));
      await gatehouse.database.deleteFrom('artifacts').where('kind', '=', 'PushedAuthorizationRequest').execute();
      const { url } = await person.walk(page);
      assert.equal(new URL(url).searchParams.get('error'), 'invalid_request_uri');
    });

    it('PAR-12: has expired after a minute', async () => {
      const url = urlOf(await push());
      moveClock(61);
      await refusesToOpen(url);
    });

    it('works up to the end of that minute, and the login may take longer', async () => {
      const url = urlOf(await push());
      moveClock(55);
      const person = new Person(gatehouse);
      const { url: page } = await person.open(url);
      moveClock(600);
      assert.match((await person.walk(page)).url, /[?&]code=/);
    });

    it('belongs to its client: another one gets nothing with it, and it still works', async () => {
      const other = await registerApplication(gatehouse);
      const request_uri = await push();
      const { url } = await new Person(gatehouse).open(urlOf(request_uri, other));
      assert.equal(url.includes('/interaction/'), false);
      assert.match((await new Person(gatehouse).authorize(urlOf(request_uri))).search, /[?&]code=/);
    });

    it('that nobody was given is refused', async () => {
      const request_uri = await push();
      for (const id of ['x', '', `${request_uri.split(':').at(-1)!}x`, '%00', '../..']) {
        await refusesToOpen(urlOf(`urn:ietf:params:oauth:request_uri:${id}`));
      }
    });

    it('is the whole request: what stands beside it in the address counts for nothing', async () => {
      const evil = { redirect_uri: 'https://evil.example/cb', scope: 'openid email', state: 'other', nonce: 'other' };
      const url = urlOf(await push(), client, { ...evil, code_challenge: 'x'.repeat(43) });
      const { url: at } = await new Person(gatehouse).walk(url);
      assert.equal(at.startsWith('https://evil.example'), false);
      const beside = { scope: 'openid email', state: 'other', code_challenge: 'x'.repeat(43) };
      const callback = await new Person(gatehouse).authorize(urlOf(await push(), client, beside));
      assert.equal(callback.searchParams.get('state'), 'the-state');
      const config = await configure(gatehouse, client);
      const checks = { pkceCodeVerifier: VERIFIER, expectedState: 'the-state' };
      assert.equal((await openid.authorizationCodeGrant(config, callback, checks)).scope, 'openid');
    });

    it('is nowhere in the database, and neither is what was pushed, not even while a login waits', async () => {
      const state = 'a-state-that-is-easy-to-find';
      const request_uri = await push({ state, login_hint: 'somebody@example.com' });
      await new Person(gatehouse).open(urlOf(request_uri));
      const stored = await everythingStored(gatehouse.database);
      const kinds = stored.filter(({ where }) => where === 'artifacts.kind').map(({ text }) => text);
      assert.equal(kinds.includes('PushedAuthorizationRequest') && kinds.includes('Interaction'), true);
      const id = request_uri.split(':').at(-1)!;
      for (const secret of [id, state, 'somebody@example.com']) {
        for (const disguise of [secret, Buffer.from(secret).toString('base64url').slice(0, -2)]) {
          assert.equal(stored.find(({ text }) => text.includes(disguise))?.where, undefined, secret);
          assert.equal(
            gatehouse.log.find((line) => line.includes(disguise)),
            undefined,
            secret,
          );
        }
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
      const callback = await new Person(gatehouse).authorize(urlOf(await push({}, strict), strict));
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
