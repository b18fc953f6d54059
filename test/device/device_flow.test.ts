import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { sha256 } from '../../src/base/secret.ts';
import { ClientMetadata } from '../../src/clients/metadata/client_metadata.ts';
import { DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure, registerApplication } from '../support/client/code_flow.ts';
import {
  CONNECTED,
  connectDevice,
  enterCode,
  poll,
  post,
  registerDevice,
  requestDevice,
  UNKNOWN_CODE,
} from '../support/person/device_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const DENIED = /The device was not connected/;

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
    assert.match(answer.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{5}-[BCDFGHJKLMNPQRSTVWXZ]{5}$/);
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
      const { page } = await connectDevice(gatehouse, user_code, new Person(gatehouse, { decision: 'deny' }));
      assert.match(page, DENIED);
      assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'access_denied']);
      moveClock(6);
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
      assert.match(page, UNKNOWN_CODE);
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

    it('with a used code within the interval gets invalid_grant, and no longer interval (FIELD-C12)', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const tokens = await poll(gatehouse, tv, device_code);
      for (let again = 0; again < 3; again++)
        assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'invalid_grant']);
      assert.equal(await intervalOf(device_code), 5);
      // a second poll of the same moment may be a retry, so it does not end the tokens; a later one does
      assert.equal(await userinfo(tokens.access_token!), 200);
    });

    it('with a denied code gets access_denied each time, and no longer interval (FIELD-C12)', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code, new Person(gatehouse, { decision: 'deny' }));
      for (let again = 0; again < 3; again++)
        assert.deepEqual(errorOf(await poll(gatehouse, tv, device_code)), [400, 'access_denied']);
      assert.equal(await intervalOf(device_code), 5);
    });

    it('with what a thief read in the database gets nothing', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const rows = await gatehouse.database.selectFrom('device_codes').select('device_code').execute();
      for (const { device_code: digest } of rows) {
        const name = digest.toString('base64url');
        for (const guess of [name, `device code ${name} with user code ${user_code.replace('-', '')}`]) {
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
    const resources = [gatehouse.demo.resource, `${gatehouse.issuer}/userinfo`];
    assert.deepEqual(events[1]!.details, { scope: 'openid notes:read', resources });
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

  async function intervalOf(deviceCode: string): Promise<number> {
    const { interval_seconds } = await gatehouse.database
      .selectFrom('device_codes')
      .select('interval_seconds')
      .where('device_code', '=', sha256(deviceCode))
      .executeTakeFirstOrThrow();
    return interval_seconds;
  }

  async function userinfo(token: string): Promise<number> {
    const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    await answer.body?.cancel();
    return answer.status;
  }

  function eventsOf(event: string) {
    return gatehouse.database.selectFrom('audit_events').selectAll().where('event', '=', event).execute();
  }
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
