import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { ClientMetadata } from '../src/clients/metadata/client_metadata.ts';
import { DEVICE_CODE } from '../src/clients/metadata/flows.ts';
import { moveClock, resetClock } from './support/clock.ts';
import { configure, registerApplication, signIn } from './support/code_flow.ts';
import {
  connectDevice,
  enterCode,
  fieldsOf,
  poll,
  post,
  registerDevice,
  requestDevice,
  type DeviceAnswer,
} from './support/device_flow.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { eventually, registerResource, type RegisteredClient } from './support/operator.ts';
import { Person } from './support/person.ts';

const CONNECTED = /Your device is connected/;
const DENIED = /The device was not connected/;
const UNKNOWN = /No device waits with this code/;

describe('the device flow', () => {
  let gatehouse: Gatehouse;
  let tv: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    tv = await registerDevice(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('connects a television: openid-client asks and polls while a person confirms, logs in and consents', async () => {
    const config = await configure(gatehouse, tv);
    const answer = await openid.initiateDeviceAuthorization(config, { scope: 'openid email' });
    // polled from now on; nothing is real about the waiting but the order of things
    const polling = openid.pollDeviceAuthorizationGrant(config, { ...answer, interval: 5 });
    const { page, response } = await connectDevice(gatehouse, answer.user_code);
    assert.match(page, CONNECTED);
    assert.equal(response.status, 200);
    const tokens = await polling;
    assert.equal(tokens.claims()?.['email'], gatehouse.account.email);
    const claims = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.equal(claims.email, gatehouse.account.email);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.equal(typeof renewed.access_token, 'string');
  });

  it('connects a confidential client as oauth4webapi speaks, with a token for the API that was asked for', async () => {
    const box = await registerDevice(gatehouse, { token_endpoint_auth_method: 'client_secret_basic' });
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(gatehouse.issuer);
    const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
    assert.equal(server.device_authorization_endpoint, `${gatehouse.issuer}/device_authorization`);
    const its = { client_id: box.client_id };
    const basic = oauth.ClientSecretBasic(box.client_secret);
    const { resource } = gatehouse.demo;
    const parameters = { scope: 'notes:read', resource };
    const asked = await oauth.deviceAuthorizationRequest(server, its, basic, parameters, insecure);
    const answer = await oauth.processDeviceAuthorizationResponse(server, its, asked);
    await connectDevice(gatehouse, answer.user_code);
    const polled = await oauth.deviceCodeGrantRequest(server, its, basic, answer.device_code, insecure);
    const { access_token } = await oauth.processDeviceCodeResponse(server, its, polled);
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { payload } = await jwtVerify(access_token, jwks, { issuer: gatehouse.issuer, audience: resource });
    assert.equal(payload['scope'], 'notes:read');
    assert.equal(payload['client_id'], box.client_id);
  });

  it('says how long to wait and how long the code lives, and gives a code that is easy to type (DEV-07)', async () => {
    const answer = await requestDevice(gatehouse, tv);
    assert.equal(answer.interval, 5);
    assert.equal(answer.expires_in, 600);
    assert.match(answer.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
    assert.equal(answer.verification_uri, `${gatehouse.issuer}/device`);
    assert.equal(answer.verification_uri_complete, `${gatehouse.issuer}/device?user_code=${answer.user_code}`);
    assert.equal(answer.device_code.length >= 43, true);
  });

  it('lives below an issuer’s path too', async (t) => {
    const elsewhere = await startGatehouse({ path: '/id/one' });
    t.after(() => elsewhere.stop());
    const box = await registerDevice(elsewhere);
    const answer = await requestDevice(elsewhere, box);
    assert.equal(answer.verification_uri, `${elsewhere.issuer}/device`);
    assert.match((await connectDevice(elsewhere, answer.user_code)).page, CONNECTED);
    assert.equal((await poll(elsewhere, box, answer.device_code)).status, 200);
  });

  describe('a poll', () => {
    it('hears that nothing is decided yet (DEV-03)', async () => {
      const { device_code } = await requestDevice(gatehouse, tv);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'authorization_pending']);
    });

    it('that comes too soon is told to slow down, and the interval grows by five seconds each time', async () => {
      const { device_code } = await requestDevice(gatehouse, tv);
      const ask = async (afterSeconds: number) => {
        moveClock(afterSeconds);
        return (await poll(gatehouse, tv, device_code)).error;
      };
      assert.equal(await ask(0), 'authorization_pending');
      assert.equal(await ask(1), 'slow_down'); // now 10 s
      assert.equal(await ask(5), 'slow_down'); // 6 s after the last that counted; now 15 s
      assert.equal(await ask(9), 'authorization_pending'); // 15 s
      assert.equal(await ask(10), 'slow_down'); // now 20 s
      assert.equal(await ask(10), 'authorization_pending');
    });

    it('of another node counts as well: two nodes agree on what is too soon', async (t) => {
      const other = await startGatehouse({ beside: gatehouse });
      t.after(() => other.stop());
      const { device_code } = await requestDevice(gatehouse, tv);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'authorization_pending');
      assert.equal((await poll(other, tv, device_code)).error, 'slow_down');
    });

    it('of another client is refused, and takes nothing from the device (DEV-01)', async () => {
      const other = await registerDevice(gatehouse);
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      assert.deepEqual(errorOf(await poll(gatehouse, other, device_code)), [400, 'invalid_grant']);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'authorization_pending');
      await connectDevice(gatehouse, user_code);
      assert.deepEqual(errorOf(await poll(gatehouse, other, device_code)), [400, 'invalid_grant']);
      moveClock(10);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('of a client that is not registered for it is refused, at both endpoints', async () => {
      const agent = await registerApplication(gatehouse);
      const { device_code } = await requestDevice(gatehouse, tv);
      assert.deepEqual(errorOf(await poll(gatehouse, agent, device_code)), [400, 'unauthorized_client']);
      const refused = await post(`${gatehouse.url}/device_authorization`, agent, { scope: 'openid' });
      assert.equal(refused.status, 400);
      assert.equal(((await refused.json()) as { error: string }).error, 'unauthorized_client');
    });

    it('without the secret of a confidential client is refused', async () => {
      const box = await registerDevice(gatehouse, { token_endpoint_auth_method: 'client_secret_basic' });
      const { device_code } = await requestDevice(gatehouse, box);
      const answer = await poll(gatehouse, { ...box, client_secret: '' }, device_code);
      assert.deepEqual(errorOf(answer), [401, 'invalid_client']);
    });

    it('after the code’s time hears that it has expired, however late', async () => {
      const { device_code } = await requestDevice(gatehouse, tv);
      for (const seconds of [601, 300]) {
        moveClock(seconds);
        assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'expired_token']);
        assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'expired_token']);
      }
    });

    it('hears that the person refused, and hears it again', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, user_code);
      const { page } = await person.submit(`${gatehouse.issuer}/device`, { ...fieldsOf(shown.page), abort: 'yes' });
      assert.match(page, DENIED);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'access_denied']);
      moveClock(6);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'access_denied']);
    });

    it('hears that the person refused at the consent', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const { page } = await connectDevice(gatehouse, user_code, new Person(gatehouse, { decision: 'deny' }));
      assert.match(page, DENIED);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'access_denied']);
    });

    it('fails when the client was revoked in between, and the code is gone when it is restored', async () => {
      const box = await registerDevice(gatehouse);
      const [waiting, confirmed] = [await requestDevice(gatehouse, box), await requestDevice(gatehouse, box)];
      await connectDevice(gatehouse, confirmed.user_code);
      await gatehouse.adminCall('POST', `/clients/${box.client_id}/revoke`, { reason: 'stolen' });
      for (const { device_code } of [waiting, confirmed]) {
        assert.deepEqual(errorOf(await poll(gatehouse, box, device_code)), [401, 'invalid_client']);
      }
      const { page } = await enterCode(gatehouse, new Person(gatehouse), waiting.user_code);
      assert.match(page, UNKNOWN);
      await gatehouse.adminCall('POST', `/clients/${box.client_id}/restore`, {});
      await eventually(async () => (await poll(gatehouse, box, waiting.device_code)).error === 'invalid_grant');
      assert.equal((await poll(gatehouse, box, confirmed.device_code)).error, 'invalid_grant');
    });

    it('gets tokens once; the code that comes back later ends them', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const tokens = await poll(gatehouse, tv, device_code);
      assert.equal(tokens.status, 200);
      assert.equal(await userinfo(tokens.access_token!), 200);
      moveClock(6);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'invalid_grant']);
      assert.equal(await userinfo(tokens.access_token!), 401);
      assert.equal((await eventsOf('device_code.reused')).at(-1)?.client_id, tv.client_id);
    });

    it('with what a thief read in the database gets nothing', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const rows = await gatehouse.database.selectFrom('device_codes').select('device_code').execute();
      for (const { device_code: digest } of rows) {
        for (const guess of [digest.toString('base64url'), `device code by digest ${digest.toString('base64url')}`]) {
          assert.deepEqual(errorOf(await poll(gatehouse, tv, guess)), [400, 'invalid_grant']);
        }
      }
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });
  });

  describe('what is asked for', () => {
    const ask = async (client: RegisteredClient, parameters: Record<string, string>): Promise<string | undefined> => {
      const answer = await post(`${gatehouse.url}/device_authorization`, client, parameters);
      return ((await answer.json()) as { error?: string }).error;
    };

    it('is refused at once beyond what the client was given, as in the code flow', async () => {
      const { resource } = gatehouse.demo;
      assert.equal(await ask(tv, { scope: 'openid notes:delete' }), 'invalid_scope');
      assert.equal(await ask(tv, { scope: 'openid notes:delete', resource }), 'invalid_scope');
      assert.equal(await ask(tv, { scope: 'openid', resource: gatehouse.admin.resource }), 'invalid_target');
      assert.equal(await ask(tv, { scope: 'openid', resource: 'not a URI' }), 'invalid_target');
      assert.equal(await ask(tv, {}), 'invalid_scope');
      assert.equal(await ask(tv, { resource }), 'invalid_scope');
      assert.equal(await ask(tv, { scope: 'openid\u0000' }), 'invalid_scope');
      assert.equal(await ask(tv, { scope: 'openid', login_hint: 'a\u0000b' }), 'invalid_request');
    });

    it('finds the API that its scopes can mean, and asks where they can mean two', async () => {
      const [films, series] = [
        await registerResource(gatehouse, 'films'),
        await registerResource(gatehouse, 'series', {
          scopes: ['films:read', 'series:read', 'series:write'].map((name) => ({ name, description: `May ${name}` })),
        }),
      ];
      const one = await registerDevice(gatehouse, { resources: [films] });
      const { device_code, user_code } = await requestDevice(gatehouse, one, { scope: 'films:read' });
      await connectDevice(gatehouse, user_code);
      const tokens = await poll(gatehouse, one, device_code);
      assert.equal(tokens.scope, 'films:read');
      const access = [films, { resource: series.resource, scopes: ['films:read'] }];
      const two = await registerDevice(gatehouse, { resources: access });
      assert.equal(await ask(two, { scope: 'films:read' }), 'invalid_target');
      assert.equal(await ask(two, { scope: 'films:read', resource: films.resource }), undefined);
    });

    it('is what the token is for: the poll can’t widen it', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'openid notes:read' });
      await connectDevice(gatehouse, user_code);
      const form = { grant_type: DEVICE_CODE, device_code, resource: gatehouse.admin.resource };
      const answer = await post(`${gatehouse.url}/token`, tv, form);
      assert.equal(((await answer.json()) as { error: string }).error, 'invalid_target');
    });
  });

  describe('a code', () => {
    it('is taken in small letters, with spaces or without the dash', async () => {
      for (const typed of [
        (code: string) => code.toLowerCase(),
        (code: string) => code.replace('-', ''),
        (code: string) => ` ${code.replace('-', ' ')} `,
        (code: string) => code.replace('-', '–').split('').join(' '),
      ]) {
        const { user_code } = await requestDevice(gatehouse, tv);
        const { page } = await enterCode(gatehouse, new Person(gatehouse), typed(user_code));
        assert.match(page, /Connect Living-room TV\?/);
        assert.equal(page.includes(user_code), true);
      }
    });

    it('gets the same answer when it is unknown, used, refused or expired', async () => {
      const [used, refused, expired] = [
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
      ];
      await connectDevice(gatehouse, used.user_code);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, refused.user_code);
      await person.submit(`${gatehouse.issuer}/device`, { ...fieldsOf(shown.page), abort: 'yes' });
      const answers: [number, string][] = [];
      for (const code of ['BCDF-GHJK', used.user_code, refused.user_code]) answers.push(await answerTo(code));
      moveClock(600);
      answers.push(await answerTo(expired.user_code));
      assert.equal(answers[0]![0], 400);
      assert.match(answers[0]![1], UNKNOWN);
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
    });

    async function answerTo(code: string): Promise<[number, string]> {
      const { response, page } = await enterCode(gatehouse, new Person(gatehouse), code);
      return [response.status, page.replaceAll(code, 'CODE').replaceAll(/name="xsrf" value="\w+"/g, '')];
    }

    it('belongs to the account that confirmed it', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const { access_token } = await poll(gatehouse, tv, device_code);
      const { tokens } = await signIn(gatehouse, await registerApplication(gatehouse));
      const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
      assert.equal(((await answer.json()) as { sub: string }).sub, tokens.claims()!.sub);
    });

    it('that one browser has confirmed can’t be taken by another, not even while the first still logs in (CVE-2026-45337)', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const [owner, thief] = [new Person(gatehouse), new Person(gatehouse)];
      // the thief has the page open before the owner confirms
      const shownToThief = await enterCode(gatehouse, thief, user_code);
      const shown = await enterCode(gatehouse, owner, user_code);
      const login = await owner.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      assert.match(login.page, /Log in/);
      for (const decision of [{}, { abort: 'yes' }]) {
        const { page, response } = await thief.submit(`${gatehouse.issuer}/device`, {
          ...fieldsOf(shownToThief.page),
          ...decision,
        });
        assert.equal(response.status, 400);
        assert.match(page, /No device waits with this code|The page was out of date/);
      }
      assert.match((await enterCode(gatehouse, new Person(gatehouse), user_code)).page, UNKNOWN);
      assert.match((await owner.finish(login)).page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('can be entered again by the browser that confirmed it and then closed the window', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, user_code);
      const abandoned = await person.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      const cookies = new Map(person.cookies);
      assert.match((await connectDevice(gatehouse, user_code, person)).page, CONNECTED);
      // and what was left open comes too late
      for (const [name, cookie] of cookies) if (!name.includes('session')) person.cookies.set(name, cookie);
      const late = await person.finish(abandoned);
      assert.doesNotMatch(late.page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('that expires while its person logs in is over', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, user_code);
      const login = await person.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      moveClock(601);
      const { page, response } = await person.finish(login);
      assert.equal(response.status, 400);
      assert.match(page, /This code can’t be used any more/);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'expired_token');
    });
  });

  describe('a confirmation', () => {
    let answer: DeviceAnswer;
    let person: Person;
    let shown: string;
    before(async () => {
      answer = await requestDevice(gatehouse, tv, { scope: 'openid notes:read' });
      person = new Person(gatehouse);
      shown = (await enterCode(gatehouse, person, answer.user_code)).page;
    });

    it('says who asks for what, with which code, and when to leave it', () => {
      assert.match(shown, /Connect Living-room TV\?/);
      assert.equal(shown.includes(answer.user_code), true);
      assert.match(shown, /Know who you are/);
      assert.match(shown, new RegExp(gatehouse.demo.resource));
      assert.match(shown, /Continue only if you started this yourself/);
    });

    it('is not taken from another browser, with the first one’s form or with a form of its own', async () => {
      const other = new Person(gatehouse);
      const { page } = await other.open(`${gatehouse.issuer}/device`);
      for (const form of [fieldsOf(shown), { ...fieldsOf(shown), ...onlyXsrf(page) }]) {
        const refused = await other.submit(`${gatehouse.issuer}/device`, form);
        assert.equal(refused.response.status, 400);
        assert.match(refused.page, /The page was out of date/);
      }
    });

    it('is not taken without the page’s proof, for another code, or without a session', async () => {
      const another = await requestDevice(gatehouse, tv);
      const forms: Record<string, string>[] = [
        { ...fieldsOf(shown), xsrf: '' },
        { ...fieldsOf(shown), user_code: another.user_code },
        { ...fieldsOf(shown), confirm: 'yes' },
        { ...fieldsOf(shown), confirm: '', abort: 'yes' },
      ];
      for (const form of forms) {
        const asking = new Person(gatehouse);
        for (const [name, cookie] of person.cookies) asking.cookies.set(name, cookie);
        const refused = await asking.submit(`${gatehouse.issuer}/device`, form);
        assert.equal(refused.response.status, 400, JSON.stringify(form));
        // the page that says so has a form of its own, and the one before is worth nothing
        shown = (await enterCode(gatehouse, person, answer.user_code)).page;
      }
      const nobody = await new Person(gatehouse).submit(`${gatehouse.issuer}/device`, fieldsOf(shown));
      assert.equal(nobody.response.status, 400);
      assert.match(nobody.page, /The page was out of date/);
    });

    it('is not taken from another site', async () => {
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
        const body = new URLSearchParams(fieldsOf(shown));
        const refused = await person.fetch(`${gatehouse.issuer}/device`, { method: 'POST', headers, body });
        assert.equal(refused.status, 403);
        assert.match(await refused.text(), /sent from another site/);
      }
      assert.equal((await poll(gatehouse, tv, answer.device_code)).error, 'authorization_pending');
    });
  });

  it('is written down: who asked, who confirmed, who refused, and the tokens, without any code', async () => {
    const box = await registerDevice(gatehouse);
    const confirmed = await requestDevice(gatehouse, box, { scope: 'openid notes:read' });
    await connectDevice(gatehouse, confirmed.user_code);
    assert.equal((await poll(gatehouse, box, confirmed.device_code)).status, 200);
    const denied = await requestDevice(gatehouse, box);
    await connectDevice(gatehouse, denied.user_code, new Person(gatehouse, { decision: 'deny' }));
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'actor_type', 'account_id', 'details'])
      .where('client_id', '=', box.client_id)
      .where('event', 'in', ['device.requested', 'device.confirmed', 'device.denied', 'token.issued'])
      .orderBy('occurred_at')
      .execute();
    const told = events.map(({ event, actor_type, account_id }) => [event, actor_type, account_id !== null]);
    assert.deepEqual(told, [
      ['device.requested', 'client', false],
      ['device.confirmed', 'account', true],
      ['token.issued', 'client', true],
      ['device.requested', 'client', false],
      ['device.denied', 'account', true],
    ]);
    assert.deepEqual(events[1]!.details, { scope: 'openid notes:read', resources: [gatehouse.demo.resource] });
    assert.equal(events[2]!.details['grant_type'], DEVICE_CODE);
    assert.equal(events[4]!.details['error'], 'access_denied');
    for (const { user_code } of [confirmed, denied]) assert.equal(JSON.stringify(events).includes(user_code), false);
  });

  it('leaves no event for polls that find nothing decided', async () => {
    const box = await registerDevice(gatehouse);
    const { device_code } = await requestDevice(gatehouse, box);
    for (let i = 0; i < 3; i++) await poll(gatehouse, box, device_code);
    const refused = await eventsOf('token.refused');
    assert.equal(
      refused.some(({ client_id }) => client_id === box.client_id),
      false,
    );
  });

  async function userinfo(token: string): Promise<number> {
    const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    await answer.body?.cancel();
    return answer.status;
  }

  function eventsOf(event: string) {
    return gatehouse.database.selectFrom('audit_events').selectAll().where('event', '=', event).execute();
  }
});

describe('guessing user codes', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** One try in a session: the status, and what the answer says about waiting. */
  async function guess(
    person: Person,
    user_code: string,
    { node = gatehouse, address = '203.0.113.1' } = {},
  ): Promise<{ status: number; retryAfter: string | null; page: string }> {
    const headers = { 'x-forwarded-for': address };
    const page = await (await person.fetch(`${node.url}/device`, { headers })).text();
    const body = new URLSearchParams({ ...fieldsOf(page), user_code });
    const answer = await person.fetch(`${node.url}/device`, { method: 'POST', headers, body });
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), page: await answer.text() };
  }

  it('from one session is stopped long before 200 tries, even with the right code, until the time is over (DEV-05)', async () => {
    const tv = await registerDevice(gatehouse);
    const { user_code } = await requestDevice(gatehouse, tv);
    const person = new Person(gatehouse);
    const statuses: number[] = [];
    for (let i = 0; i < 200; i++) statuses.push((await guess(person, 'BCDF-GHJK')).status);
    assert.equal(statuses.filter((status) => status === 400).length, 10);
    assert.equal(statuses.filter((status) => status === 429).length, 190);
    const refused = await guess(person, user_code);
    assert.equal(refused.status, 429);
    assert.match(refused.retryAfter!, /^[1-9]\d{0,2}$/);
    assert.match(refused.page, /There were too many tries with codes\. Wait \d+ minutes?, then try again\./);

    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('event', 'in', ['device.guessed', 'device.throttled'])
      .execute();
    assert.equal(events.filter(({ event }) => event === 'device.guessed').length, 10);
    assert.equal(events.filter(({ event }) => event === 'device.throttled').length, 191);

    moveClock(601);
    const { user_code: fresh } = await requestDevice(gatehouse, tv);
    assert.equal((await guess(person, fresh)).status, 200);
  });

  it('from one address is stopped whatever its cookies, and on the other node too', async (t) => {
    const environment = { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' };
    const other = await startGatehouse({ beside: gatehouse, environment });
    t.after(() => other.stop());
    const address = '203.0.113.2';
    const statuses: number[] = [];
    for (let i = 0; i < 60; i++) {
      const node = i % 2 === 0 ? gatehouse : other;
      statuses.push((await guess(new Person(gatehouse), 'BCDF-GHJK', { node, address })).status);
    }
    assert.deepEqual(new Set(statuses.slice(0, 50)), new Set([400]));
    assert.deepEqual(new Set(statuses.slice(50)), new Set([429]));
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.3' })).status, 400);
  });

  it('at once is counted before anything is looked up', async () => {
    const person = new Person(gatehouse);
    const address = '203.0.113.4';
    const page = await (await person.fetch(`${gatehouse.url}/device`)).text();
    const headers = { 'x-forwarded-for': address };
    const cookie = [...person.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
    const body = new URLSearchParams({ ...fieldsOf(page), user_code: 'BCDF-GHJK' });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () =>
        fetch(`${gatehouse.url}/device`, { method: 'POST', headers: { ...headers, cookie }, body }),
      ),
    );
    const pages = await Promise.all(answers.map((answer) => answer.text()));
    assert.equal(pages.filter((text) => UNKNOWN.test(text)).length <= 10, true);
    assert.equal(pages.filter((text) => CONNECTED.test(text)).length, 0);
  });

  it('by everybody together is stopped, and runs out by itself', async () => {
    const expire = Date.now() + 60_000;
    await gatehouse.database
      .updateTable('failed_attempts')
      .set({ points: 1_000, expire })
      .where('key', 'like', 'user_code_all:%')
      .execute();
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.5' })).status, 429);
    moveClock(61);
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.5' })).status, 400);
  });

  it('is not what a household does with many devices', async () => {
    const tv = await registerDevice(gatehouse);
    const person = new Person(gatehouse);
    for (let i = 0; i < 15; i++) {
      const { user_code } = await requestDevice(gatehouse, tv);
      assert.equal((await guess(person, user_code, { address: '203.0.113.6' })).status, 200);
    }
  });
});

describe('a client for devices', () => {
  const problems = (metadata: Readonly<Record<string, unknown>>): string[] => {
    const parsed = ClientMetadata.safeParse(metadata);
    return parsed.success ? [] : parsed.error.issues.map(({ path }) => path.join('.'));
  };

  it('needs no redirect URI and no secret, and may have refresh tokens', () => {
    const device = { grant_types: [DEVICE_CODE, 'refresh_token'], token_endpoint_auth_method: 'none' };
    assert.deepEqual(problems(device), []);
    assert.deepEqual(problems({ grant_types: [DEVICE_CODE] }), []);
    assert.deepEqual(problems({ grant_types: ['refresh_token'] }), ['grant_types']);
    assert.deepEqual(problems({ ...device, redirect_uris: ['https://tv.example'] }), ['redirect_uris']);
    assert.deepEqual(problems({ ...device, response_types: ['code'] }), ['response_types']);
  });
});

function errorOf({ status, error }: { status: number; error?: string }): [number, string | undefined] {
  return [status, error];
}

function onlyXsrf(page: string): Record<string, string> {
  return { xsrf: fieldsOf(page)['xsrf']! };
}
