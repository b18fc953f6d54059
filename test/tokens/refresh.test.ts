import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  basic,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
  type SignedIn,
} from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import type { Person } from '../support/person/person.ts';

const DAY_SECONDS = 86_400;
/** The grace window's default is 10 s. */
const PAST_GRACE_SECONDS = 11;
/** Asks for a refresh token that outlives the session. */
const OFFLINE = { scope: 'openid offline_access', parameters: { prompt: 'consent' } } as const;

describe('refresh tokens', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const refresh = async (
    refresh_token: string,
    form: Record<string, string> = {},
    { url = gatehouse.url, who = client } = {},
  ) => {
    const { client_id, client_secret } = who;
    const response = await fetch(`${url}/token`, {
      method: 'POST',
      headers: client_secret === '' ? {} : { authorization: basic(client_id, client_secret) },
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token,
        ...(client_secret === '' && { client_id }),
        ...form,
      }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  /** The next refresh token of the family. */
  const rotate = async (refresh_token: string): Promise<string> => {
    const { status, body } = await refresh(refresh_token);
    assert.equal(status, 200, JSON.stringify(body));
    return body['refresh_token']!;
  };
  const isDead = async (refresh_token: string): Promise<void> => {
    const { status, body } = await refresh(refresh_token);
    assert.deepEqual([status, body['error']], [400, 'invalid_grant']);
  };
  const userinfo = async (token: string): Promise<number> => {
    const response = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    await response.body?.cancel();
    return response.status;
  };
  const refreshTokenOf = ({ tokens }: SignedIn): string => {
    assert.ok(tokens.refresh_token);
    return tokens.refresh_token;
  };

  it('rotate: each use gives new tokens for the same person, as openid-client checks them', async () => {
    const { config, tokens } = await signIn(gatehouse, client, OFFLINE);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.equal(renewed.claims()?.sub, tokens.claims()!.sub);
    assert.notEqual(renewed.refresh_token, tokens.refresh_token);
    assert.notEqual(renewed.access_token, tokens.access_token);
    assert.equal(await userinfo(renewed.access_token), 200);
  });

  it('rotate for public clients too', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, spa, OFFLINE);
    const { status, body } = await refresh(tokens.refresh_token!, {}, { who: spa });
    assert.equal(status, 200);
    assert.notEqual(body['refresh_token'], tokens.refresh_token);
  });

  it('renew a token for an API with the same audience and scopes', async () => {
    const parameters = { resource: gatehouse.demo.resource, prompt: 'consent' };
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid offline_access notes:read', parameters });
    const { body } = await refresh(tokens.refresh_token!);
    assert.equal(body['scope'], 'notes:read');
    const claims = JSON.parse(Buffer.from(body['access_token']!.split('.')[1]!, 'base64url').toString()) as object;
    assert.equal('aud' in claims && claims.aud, gatehouse.demo.resource);
  });

  describe('used a second time', () => {
    it('after the grace window end the whole family: the newest refresh token and the access tokens with it (TOK-R01)', async () => {
      const signedIn = await signIn(gatehouse, client, OFFLINE);
      const first = refreshTokenOf(signedIn);
      const renewed = await refresh(first);
      moveClock(PAST_GRACE_SECONDS);

      await isDead(first);
      await isDead(renewed.body['refresh_token']!);
      assert.equal(await userinfo(renewed.body['access_token']!), 401);
      assert.equal(await userinfo(signedIn.tokens.access_token), 401);
    });

    it('within the grace window get a successor: the answer before may have been lost', async () => {
      const first = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      await rotate(first);
      moveClock(7);
      const retried = await rotate(first);
      await rotate(retried);
    });

    it('within the grace window do not start it anew: it runs from the first use', async () => {
      const first = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      await rotate(first);
      moveClock(7);
      await rotate(first);
      moveClock(7);
      await isDead(first);
    });

    it('after a restart still end the family: the use is in the database and not in memory (CVE-2026-9802)', async () => {
      const first = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      const newest = await rotate(first);
      moveClock(PAST_GRACE_SECONDS);
      const restarted = await startGatehouse({ beside: gatehouse });
      try {
        assert.equal((await refresh(first, {}, { url: restarted.url })).body['error'], 'invalid_grant');
        await isDead(newest);
      } finally {
        await restarted.stop();
      }
    });

    it('do not harm the family of another sign-in of the same person', async () => {
      const [stolen, other] = [await signIn(gatehouse, client, OFFLINE), await signIn(gatehouse, client, OFFLINE)];
      await rotate(refreshTokenOf(stolen));
      moveClock(PAST_GRACE_SECONDS);
      await isDead(refreshTokenOf(stolen));
      await rotate(refreshTokenOf(other));
    });

    it('by another client end nothing: who can not redeem it can not destroy it', async () => {
      const first = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      const newest = await rotate(first);
      moveClock(PAST_GRACE_SECONDS);
      const other = await registerApplication(gatehouse);
      assert.equal((await refresh(first, {}, { who: other })).status, 400);
      await rotate(newest);
    });
  });

  it('are refused at once at their second use where the grace window is switched off', async () => {
    const strict = await startGatehouse({ environment: { GATEHOUSE_REFRESH_GRACE_SECONDS: '0' } });
    try {
      const who = await registerApplication(strict);
      const { tokens } = await signIn(strict, who, OFFLINE);
      const there = { url: strict.url, who };
      const renewed = await refresh(tokens.refresh_token!, {}, there);
      assert.equal(renewed.status, 200);
      assert.equal((await refresh(tokens.refresh_token!, {}, there)).body['error'], 'invalid_grant');
      assert.equal((await refresh(renewed.body['refresh_token']!, {}, there)).body['error'], 'invalid_grant');
    } finally {
      await strict.stop();
    }
  });

  it('never give more than was granted: a wider scope is refused, and costs nothing (TOK-R03)', async () => {
    const token = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
    for (const scope of ['openid offline_access email', 'openid notes:read', 'clients:write']) {
      const { status, body } = await refresh(token, { scope });
      assert.deepEqual([status, body['error']], [400, 'invalid_scope']);
    }
    await rotate(token);
  });

  it('give no scope that the client has lost since', async () => {
    const who = await registerApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, who, { scope: 'notes:read notes:write' });
    const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read'] }];
    const patched = await gatehouse.adminCall('PATCH', `/clients/${who.client_id}`, { resources });
    assert.equal(patched.status, 200, await patched.text());
    const { body } = await refresh(tokens.refresh_token!, {}, { who });
    assert.equal(body['scope'], 'notes:read');
  });

  it('never give a token for another API (CVE-2026-67332)', async () => {
    const token = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
    const { status, body } = await refresh(token, { resource: gatehouse.admin.resource });
    assert.deepEqual([status, body['error']], [400, 'invalid_target']);
  });

  it('give less where less is asked for, and the rest again later', async () => {
    const { tokens } = await signIn(gatehouse, client, { ...OFFLINE, scope: 'openid offline_access email' });
    const narrow = await refresh(tokens.refresh_token!, { scope: 'openid' });
    assert.equal(narrow.body['scope'], 'openid');
    const wide = await refresh(narrow.body['refresh_token']!);
    assert.equal(wide.body['scope'], 'openid offline_access email');
  });

  it('need the client to prove itself (CVE-2026-53512) (TOK-R05)', async () => {
    const token = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
    for (const who of [
      { ...client, client_secret: '' },
      { ...client, client_secret: 'wrong' },
    ]) {
      const { status, body } = await refresh(token, {}, { who });
      assert.deepEqual([status, body['error']], [401, 'invalid_client']);
    }
    await rotate(token);
  });

  it('are no codes, and codes are no refresh tokens (TOK-R09)', async () => {
    const { code } = await requestCode(gatehouse, client);
    await isDead(code);
    const { tokens } = await signIn(gatehouse, client, OFFLINE);
    const as = {
      grant_type: 'authorization_code',
      code: tokens.refresh_token!,
      redirect_uri: 'https://app.example.com/callback',
      code_verifier: 'x'.repeat(43),
    };
    assert.equal((await refresh(tokens.refresh_token!, as)).body['error'], 'invalid_grant');
    await isDead(tokens.access_token);
  });

  it('are not given to a client that did not register for them', async () => {
    const without = await registerApplication(gatehouse, { grant_types: ['authorization_code'] });
    const { tokens } = await signIn(gatehouse, without, OFFLINE);
    assert.equal(tokens.refresh_token, undefined);
  });

  describe('end', () => {
    it('when they lie unused for two weeks (TOK-R11)', async () => {
      const token = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      moveClock(13.9 * DAY_SECONDS);
      const newest = await rotate(token);
      moveClock(14.1 * DAY_SECONDS);
      await isDead(newest);
    });

    it('after 90 days however often they are used (TOK-R11)', async () => {
      let token = refreshTokenOf(await signIn(gatehouse, client, OFFLINE));
      for (let day = 13; day < 90; day += 13) {
        moveClock(13 * DAY_SECONDS);
        token = await rotate(token);
      }
      moveClock(13 * DAY_SECONDS);
      await isDead(token);
    });

    const logOut = async (person: Person): Promise<void> => {
      const { page } = await person.open(`${gatehouse.url}/logout`);
      const [, action] = /action="([^"]+)"/.exec(page) ?? [];
      const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page) ?? [];
      assert.ok(action && xsrf, page);
      await person.submit(new URL(action, gatehouse.url), { xsrf, logout: 'yes' });
    };

    it('with the session, at the logout', async () => {
      const signedIn = await signIn(gatehouse, client, { scope: 'openid' });
      const token = await rotate(refreshTokenOf(signedIn));
      await logOut(signedIn.person);
      await isDead(token);
      assert.equal(await userinfo(signedIn.tokens.access_token), 401);
    });

    it('not at the logout where the person allowed offline_access', async () => {
      const signedIn = await signIn(gatehouse, client, OFFLINE);
      await logOut(signedIn.person);
      await rotate(refreshTokenOf(signedIn));
    });
  });
});
