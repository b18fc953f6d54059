import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { DAY_SECONDS } from '../../src/base/clock.ts';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { basic, registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { addTo, endRole, makeRole, removeFrom, type HeldRole } from '../support/client/roles.ts';
import { startLogoutReceiver, verifyLogoutToken, type LogoutReceiver } from '../support/network/logout_receiver.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { closeOutside } from '../support/network/outside_server.ts';
import { Person } from '../support/person/person.ts';

describe('a session', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let receiver: LogoutReceiver;
  before(async () => {
    receiver = await startLogoutReceiver();
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_EGRESS_ALLOW: receiver.origin } });
    client = await registerApplication(gatehouse);
  });
  after(async () => {
    closeOutside();
    await gatehouse.stop();
  });
  afterEach(async () => {
    resetClock();
    await gatehouse.database.deleteFrom('artifacts').where('kind', '=', 'Session').execute();
  });

  const days = (count: number): void => moveClock(count * DAY_SECONDS);
  const person = (): Person => new Person(gatehouse, { remember: true });
  /** Whether the person's browser gets a code without a page. */
  const isLoggedIn = async (who: Person, more: Readonly<Record<string, string>> = {}): Promise<boolean> => {
    const request = authorizationRequest(client, { prompt: 'none', ...more });
    const { url } = await who.open(`${gatehouse.issuer}/authorize?${request}`);
    const { searchParams } = new URL(url);
    if (!searchParams.has('code')) assert.equal(searchParams.get('error'), 'login_required');
    return searchParams.has('code');
  };
  /** On the fast path, or with a query that keeps the request from it. */
  const refresh = async (refresh_token: string, path: 'fast' | 'ordinary') => {
    const response = await fetch(`${gatehouse.url}/token${path === 'ordinary' ? '?ordinary' : ''}`, {
      method: 'POST',
      headers: { authorization: basic(client.client_id, client.client_secret) },
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token }),
    });
    return (await response.json()) as { readonly refresh_token?: string; readonly error?: string };
  };
  const fastAnswers = async (): Promise<number> => {
    const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
  };
  const demoAccount = (): Promise<string> =>
    gatehouse.database
      .selectFrom('accounts')
      .select('account_id')
      .where('email', '=', gatehouse.account.email)
      .executeTakeFirstOrThrow()
      .then(({ account_id }) => account_id);

  it('ends 30 days after its login, however often it is used, and a new login begins anew (FIELD-E9)', async () => {
    const who = person();
    await signIn(gatehouse, client, { person: who });
    const hint = (await signIn(gatehouse, client, { person: who })).tokens.id_token!;
    for (const pause of [10, 10, 9.9]) {
      days(pause);
      assert.equal(await isLoggedIn(who), true);
    }
    const [session] = (await Admin.of(gatehouse).then(async (a) => a.get(`/accounts/${await demoAccount()}/sessions`)))
      .body.items;
    assert.ok(Date.parse(String(session?.['expires_at'])) - Date.now() <= 0.1 * DAY_SECONDS * 1_000 + 1_000);
    days(0.2);
    assert.equal(await isLoggedIn(who), false);
    assert.equal(await isLoggedIn(who, { id_token_hint: hint }), false, 'whoever was there before');
    await signIn(gatehouse, client, { person: who });
    days(13);
    assert.equal(await isLoggedIn(who), true);
  });

  it('ends when it was unused for 14 days (FIELD-E9)', async () => {
    const who = person();
    await signIn(gatehouse, client, { person: who });
    days(13.9);
    assert.equal(await isLoggedIn(who), true);
    days(14.1);
    assert.equal(await isLoggedIn(who), false);
  });

  it('counts its age from a login that only confirmed who it is, too (FIELD-E9)', async () => {
    const who = person();
    await signIn(gatehouse, client, { person: who });
    for (const pause of [12, 12]) {
      days(pause);
      assert.equal(await isLoggedIn(who), true);
    }
    await signIn(gatehouse, client, { person: who, parameters: { prompt: 'login' } });
    for (const pause of [12, 12]) {
      days(pause);
      assert.equal(await isLoggedIn(who), true);
    }
    days(6.1);
    assert.equal(await isLoggedIn(who), false);
  });

  it('takes the refresh tokens along that hang on it, on the fast path and the ordinary one (FIELD-E9)', async () => {
    const who = person();
    const scope = 'openid notes:read';
    const tokens = {
      fast: (await signIn(gatehouse, client, { person: who, scope })).tokens.refresh_token!,
      ordinary: (await signIn(gatehouse, client, { person: who, scope })).tokens.refresh_token!,
    };
    for (const pause of [12, 12]) {
      days(pause);
      assert.equal(await isLoggedIn(who), true);
      for (const path of ['fast', 'ordinary'] as const) {
        const earlier = await fastAnswers();
        const answer = await refresh(tokens[path], path);
        assert.ok(answer.refresh_token, JSON.stringify(answer));
        assert.equal((await fastAnswers()) - earlier, path === 'fast' ? 1 : 0);
        tokens[path] = answer.refresh_token;
      }
    }
    days(6.1);
    for (const path of ['fast', 'ordinary'] as const) {
      assert.equal((await refresh(tokens[path], path)).error, 'invalid_grant', path);
    }
  });

  it('that an older version stored for longer ends at its age everywhere after the upgrade (FIELD-E9)', async () => {
    const who = person();
    const scope = 'openid notes:read';
    const tokens = {
      fast: (await signIn(gatehouse, client, { person: who, scope })).tokens.refresh_token!,
      ordinary: (await signIn(gatehouse, client, { person: who, scope })).tokens.refresh_token!,
    };
    await gatehouse.database
      .updateTable('artifacts')
      .set({ expires_at: new Date(Date.now() + 100 * DAY_SECONDS * 1_000) })
      .set(
        'payload',
        sql`payload || jsonb_build_object('exp', (payload->>'exp')::bigint + ${100 * DAY_SECONDS}::bigint)`,
      )
      .execute();
    const admin = async () =>
      (await (await Admin.of(gatehouse)).get(`/accounts/${await demoAccount()}/sessions`)).body.items;
    days(29.9);
    assert.equal((await admin()).length, 1);
    assert.match(await (await who.fetch(`${gatehouse.issuer}/account`)).text(), /demo@example\.com/);
    days(0.2);
    assert.match(await (await who.fetch(`${gatehouse.issuer}/account`)).text(), /You are not logged in/);
    assert.deepEqual(await admin(), []);
    for (const path of ['fast', 'ordinary'] as const) {
      assert.equal((await refresh(tokens[path], path)).error, 'invalid_grant', path);
    }
    const approval = await who.fetch(`${gatehouse.issuer}/approve/${'a'.repeat(43)}`);
    assert.match(approval.headers.get('location') ?? '', /\/interaction\//, 'to log in first');
    assert.equal(await isLoggedIn(who), false);
  });

  it('ends with all others of its person in one call, which applications are told (FIELD-E9)', async () => {
    const told = await registerApplication(gatehouse, { backchannel_logout_uri: `${receiver.origin}/logout` });
    const [one, other] = [person(), person()];
    const first = await signIn(gatehouse, told, { person: one });
    const second = await signIn(gatehouse, told, { person: other });
    const offline = await signIn(gatehouse, client, {
      person: other,
      scope: 'openid offline_access notes:read',
      parameters: { prompt: 'consent' },
    });
    const admin = await Admin.of(gatehouse);
    const accountId = await demoAccount();
    const path = `/accounts/${accountId}/sessions`;
    assert.equal((await (await admin.lesser('sessions:read')).delete(path)).status, 403);
    const answer = await admin.delete(path);
    assert.equal(answer.status, 204, answer.text);
    assert.equal(await isLoggedIn(one), false);
    assert.equal(await isLoggedIn(other), false);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['account_id', 'details'])
      .where('request_id', '=', answer.headers.get('x-request-id'))
      .where('event', '=', 'session.ended')
      .execute();
    assert.equal(events.length, 2);
    for (const { account_id, details } of events) {
      assert.deepEqual([account_id, details['all'], typeof details['session_id']], [accountId, true, 'string']);
    }
    const tokens = await receiver.received(2);
    const sids = await Promise.all(
      tokens.map(async (token) => (await verifyLogoutToken(gatehouse, token, told.client_id))['sid']),
    );
    assert.deepEqual(new Set(sids), new Set([first, second].map(({ tokens: its }) => its.claims()!['sid'])));
    assert.ok((await refresh(offline.tokens.refresh_token!, 'fast')).refresh_token, 'offline access needs no session');
    assert.equal((await admin.delete(path)).status, 204, 'there is none left');
    assert.equal((await admin.delete('/accounts/account_nobody/sessions')).status, 404);
  });

  describe('of a person who administers the server', () => {
    const HOUR_SECONDS = 3_600;
    let held: HeldRole;
    before(async () => {
      const admin = await Admin.of(gatehouse);
      held = await makeRole(admin, gatehouse.admin.resource, 'clients:read');
      await addTo(admin, held, await demoAccount());
    });
    after(async () => {
      await endRole(await Admin.of(gatehouse), held);
    });

    it('ends when it was unused for an hour, and with it the refresh tokens that belong to it', async () => {
      const who = person();
      const { tokens } = await signIn(gatehouse, client, { person: who });
      moveClock(HOUR_SECONDS - 60);
      assert.equal(await isLoggedIn(who), true);
      moveClock(HOUR_SECONDS + 60);
      for (const path of ['fast', 'ordinary'] as const)
        assert.equal((await refresh(tokens.refresh_token!, path)).error, 'invalid_grant', path);
      assert.equal(await isLoggedIn(who), false);
    });

    it('ends 12 hours after the login, however often it is used', async () => {
      const who = person();
      await signIn(gatehouse, client, { person: who });
      for (let pauses = 1; pauses < 13; pauses++) {
        moveClock(0.95 * HOUR_SECONDS);
        assert.equal(await isLoggedIn(who), true, `pause ${pauses}`);
      }
      moveClock(0.95 * HOUR_SECONDS);
      assert.equal(await isLoggedIn(who), false);
    });

    it('is shortened by its next use if the person gets the role later, and others keep theirs', async () => {
      const admin = await Admin.of(gatehouse);
      await removeFrom(admin, held, await demoAccount());
      const who = person();
      await signIn(gatehouse, client, { person: who });
      moveClock(2 * HOUR_SECONDS);
      assert.equal(await isLoggedIn(who), true);
      await addTo(await Admin.of(gatehouse), held, await demoAccount());
      assert.equal(await isLoggedIn(who), true);
      moveClock(HOUR_SECONDS + 60);
      assert.equal(await isLoggedIn(who), false);
    });
  });

  it('lasts no longer unused than the settings let any session last (FIELD-E9)', async () => {
    const short = await startGatehouse({
      beside: gatehouse,
      environment: { GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: String(DAY_SECONDS) },
    });
    try {
      const who = person();
      await signIn(gatehouse, client, { person: who });
      days(1.1);
      assert.match(await (await who.fetch(`${gatehouse.url}/account`)).text(), /demo@example\.com/);
      assert.match(await (await who.fetch(`${short.url}/account`)).text(), /You are not logged in/);
    } finally {
      await short.stop();
    }
  });
});
