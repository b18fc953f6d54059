import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { registerApplication, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import {
  logOut,
  startLogoutReceiver,
  verifyLogoutToken,
  type LogoutReceiver,
} from '../support/network/logout_receiver.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { closeOutside } from '../support/network/outside_server.ts';
import { Person } from '../support/person/person.ts';

describe('back-channel logout', () => {
  let gatehouse: Gatehouse;
  let receiver: LogoutReceiver;
  /** An address that the operator has not allowed. */
  let elsewhere: LogoutReceiver;
  before(async () => {
    receiver = await startLogoutReceiver();
    elsewhere = await startLogoutReceiver();
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_EGRESS_ALLOW: receiver.origin } });
  });
  after(async () => {
    closeOutside();
    await gatehouse.stop();
  });
  beforeEach(() => {
    receiver.tokens.length = 0;
    receiver.answer = (response) => response.writeHead(200).end();
  });
  // what one test leaves behind must not come to the next one's receiver
  afterEach(() => gatehouse.database.deleteFrom('outbox').execute());

  it('is announced in discovery (oidcc-backchannel-logout-discovery-endpoint-verification)', async () => {
    const response = await fetch(`${gatehouse.issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as Record<string, unknown>;
    assert.equal(metadata['backchannel_logout_supported'], true);
    assert.equal(metadata['backchannel_logout_session_supported'], true);
    assert.equal(metadata['end_session_endpoint'], `${gatehouse.issuer}/logout`);
  });

  it('tells the application when the person logs out (oidcc-backchannel-rp-initiated-logout)', async () => {
    const client = await register();
    const { person, tokens } = await signIn(gatehouse, client);
    const { sid, sub } = tokens.claims()!;
    assert.equal(typeof sid, 'string', 'the ID token names the session');
    await logOut(person, gatehouse, { id_token_hint: tokens.id_token! });
    const [token] = await receiver.received(1);
    const claims = await verifyLogoutToken(gatehouse, token!, client.client_id);
    assert.equal(claims['sid'], sid);
    assert.equal(claims.sub, sub);
    await isSettled(1);
    const { event, client_id, account_id } = await lastMessageEvent();
    assert.deepEqual(
      { event, client_id, account_id },
      { event: 'message.delivered', client_id: client.client_id, account_id: sub },
    );
  });

  it('calls the person what the application calls them, where subjects are pairwise', async () => {
    const client = await register({ subject_type: 'pairwise' });
    const { person, tokens } = await signIn(gatehouse, client);
    const { sub } = tokens.claims()!;
    await logOut(person, gatehouse, { id_token_hint: tokens.id_token! });
    const [token] = await receiver.received(1);
    const claims = await verifyLogoutToken(gatehouse, token!, client.client_id);
    assert.equal(claims.sub, sub);
    await isSettled(1);
    const { account_id } = await lastMessageEvent();
    assert.notEqual(account_id, sub);
  });

  const ends: Readonly<Record<string, (person: Person, accountId: string, sessionId: string) => Promise<unknown>>> = {
    'ends it on the account page': async (person, _, session_id) => {
      const { page } = await person.open(`${gatehouse.issuer}/account/devices`);
      const form_token = /name="form_token" value="([^"]+)"/.exec(page)![1]!;
      return person.fetch(`${gatehouse.issuer}/account/devices/end`, {
        method: 'POST',
        headers: { origin: new URL(gatehouse.issuer).origin },
        body: new URLSearchParams({ form_token, session_id }),
      });
    },
    'has it ended by an admin': (_, accountId, sessionId) =>
      admin('DELETE', `/accounts/${accountId}/sessions/${sessionId}`),
    'gets a new password': (_, accountId) =>
      admin('PATCH', `/accounts/${accountId}`, { password: 'another password 1' }),
    'is disabled': (_, accountId) => admin('POST', `/accounts/${accountId}/disable`),
    'is deleted': (_, accountId) => admin('DELETE', `/accounts/${accountId}`),
  };
  for (const [way, end] of Object.entries(ends)) {
    it(`tells the application of a session whose owner ${way}`, async () => {
      const client = await register();
      const { person, accountId } = await newPerson();
      const { tokens } = await signIn(gatehouse, client, { person });
      const [session] = (
        (await (await gatehouse.adminCall('GET', `/accounts/${accountId}/sessions`)).json()) as {
          items: { session_id: string }[];
        }
      ).items;
      await end(person, accountId, session!.session_id);
      const [token] = await receiver.received(1);
      const claims = await verifyLogoutToken(gatehouse, token!, client.client_id);
      assert.equal(claims['sid'], tokens.claims()!['sid']);
      assert.equal(claims.sub, accountId);
    });
  }

  it('tells the applications of the person who was logged in before, when another one logs in with the same browser', async () => {
    const client = await register();
    const { person } = await signIn(gatehouse, client);
    const other = await newPerson(person);
    const { page } = await other.person.walk(
      `${gatehouse.issuer}/authorize?${authorizationRequest(client, { prompt: 'login' })}`,
    );
    // the library has the browser log the first one out before it continues
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)![1]!;
    await other.person.submit(`${gatehouse.issuer}/logout/confirm`, { xsrf, logout: 'yes' });
    const [token] = await receiver.received(1);
    const { sub } = await verifyLogoutToken(gatehouse, token!, client.client_id);
    assert.notEqual(sub, other.accountId);
    assert.equal(receiver.tokens.length, 1);
  });

  it('tells each application of the session that wants to hear, each by its own registration', async () => {
    const named = await register();
    const plain = await register({ backchannel_logout_session_required: false, id_token_signed_response_alg: 'ES256' });
    const deaf = await registerApplication(gatehouse);
    const { person } = await signIn(gatehouse, named);
    const { tokens } = await signIn(gatehouse, plain, { person });
    assert.equal('sid' in tokens.claims()!, false);
    await signIn(gatehouse, deaf, { person });
    await logOut(person, gatehouse);
    const received = await receiver.received(2);
    await isSettled(2);
    assert.equal(received.length, 2);
    const toPlain = received.find((token) => decodeJwt(token).aud === plain.client_id)!;
    const claims = await verifyLogoutToken(gatehouse, toPlain, plain.client_id, 'ES256');
    assert.equal('sid' in claims, false);
    const toNamed = received.find((token) => decodeJwt(token).aud === named.client_id)!;
    await verifyLogoutToken(gatehouse, toNamed, named.client_id);
  });

  it('tells the application that asked, and no other, where the person stays logged in', async () => {
    const [asking, other] = [await register(), await register()];
    const { person, tokens } = await signIn(gatehouse, asking);
    await signIn(gatehouse, other, { person });
    await logOut(person, gatehouse, { id_token_hint: tokens.id_token! }, 'stay');
    const [token] = await receiver.received(1);
    await verifyLogoutToken(gatehouse, token!, asking.client_id);
    await isSettled(1);
    assert.equal(receiver.tokens.length, 1);
  });

  it('tells no application of a logout that was not confirmed', async () => {
    const { person } = await signIn(gatehouse, await register());
    await person.open(`${gatehouse.issuer}/logout`);
    await person.submit(`${gatehouse.issuer}/logout/confirm`, { logout: 'yes', xsrf: 'guessed' });
    assert.deepEqual(await gatehouse.database.selectFrom('outbox').selectAll().execute(), []);
  });

  it('arrives later where the application was down, as the same message under the keys of then', async () => {
    const client = await register();
    const { person } = await signIn(gatehouse, client);
    receiver.answer = (response) => response.destroy();
    await logOut(person, gatehouse);
    await receiver.received(1);
    receiver.answer = (response) => response.writeHead(200).end();
    await admin('POST', '/keys/rotate', { alg: 'RS256', reason: 'leaked', emergency: true });
    const [first, second] = await receiver.received(2, 20_000);
    const claims = await verifyLogoutToken(gatehouse, second!, client.client_id);
    assert.equal(claims.jti, decodeJwt(first!).jti);
    await assert.rejects(verifyLogoutToken(gatehouse, first!, client.client_id), 'that key is gone');
  });

  it('does not keep the person waiting for an application that is slow', async () => {
    const { person } = await signIn(gatehouse, await register());
    const held = Promise.withResolvers<void>();
    receiver.answer = () => held.resolve();
    const { page } = await logOut(person, gatehouse);
    assert.match(page, /You are logged out/);
    await held.promise;
    await eventually(
      async () => gatehouse.log.some((line) => line.includes('outbox.postponed') && line.includes('timed_out')),
      10_000,
    );
  });

  it('sends no request to an address inside, and follows no redirect there (CVE-2026-1180, CVE-2026-4874) (ADM-08)', async () => {
    const inside = await register({ backchannel_logout_uri: `${elsewhere.origin}/logout` });
    const named = await register({ backchannel_logout_uri: 'https://localhost/logout' });
    const literal = await register({ backchannel_logout_uri: 'https://169.254.169.254/logout' });
    const redirecting = await register();
    receiver.answer = (response) => response.writeHead(307, { location: `${elsewhere.origin}/logout` }).end();
    const { person } = await signIn(gatehouse, inside);
    for (const client of [named, literal, redirecting]) await signIn(gatehouse, client, { person });
    const began = gatehouse.log.length;
    await logOut(person, gatehouse);
    const reasons = (): string[] =>
      gatehouse.log
        .slice(began)
        .filter((line) => line.includes('outbox.postponed'))
        .map((line) => (JSON.parse(line) as { reason: string }).reason);
    await eventually(async () => reasons().length === 4, 10_000);
    assert.deepEqual(reasons().toSorted(), ['address_refused', 'name_refused', 'redirect_refused', 'scheme_refused']);
    assert.deepEqual(elsewhere.requests, []);
  });

  it('goes to the address that is registered when it is sent, and to no revoked client', async () => {
    const [moved, revoked] = [await register(), await register()];
    const { person } = await signIn(gatehouse, moved);
    await signIn(gatehouse, revoked, { person });
    receiver.answer = (response) => response.writeHead(503).end();
    await logOut(person, gatehouse);
    await receiver.received(2);
    receiver.answer = (response) => response.writeHead(200).end();
    await admin('PATCH', `/clients/${moved.client_id}`, { backchannel_logout_uri: `${receiver.origin}/moved` });
    await admin('POST', `/clients/${revoked.client_id}/revoke`, { reason: 'gone' });
    await eventually(async () => (await waiting()).length === 0, 20_000);
    assert.equal(receiver.requests.at(-1), 'POST /moved');
    assert.equal(receiver.tokens.filter((token) => decodeJwt(token).aud === revoked.client_id).length, 1);
  });

  it('is given up where the application says that it does not take the token', async () => {
    const { person } = await signIn(gatehouse, await register());
    receiver.answer = (response) => response.writeHead(400).end();
    await logOut(person, gatehouse);
    await isSettled(1);
    const { event, details } = await lastMessageEvent();
    assert.equal(event, 'message.failed');
    assert.equal((details as { reason?: string }).reason, 'status 400');
  });

  it('comes with the end of refresh tokens, but for those that were to outlive the session', async () => {
    const client = await register({ scope: 'openid offline_access' });
    const session = await signIn(gatehouse, client);
    const offline = await signIn(gatehouse, client, {
      scope: 'openid offline_access',
      parameters: { prompt: 'consent' },
      person: new Person(gatehouse),
    });
    for (const { person } of [session, offline]) await logOut(person, gatehouse);
    await receiver.received(2);
    await assert.rejects(refresh(session), { error: 'invalid_grant' });
    assert.ok((await refresh(offline)).access_token);
  });

  it('is shown by gauges while it waits', async () => {
    const { person } = await signIn(gatehouse, await register());
    receiver.answer = (response) => response.writeHead(503).end();
    await logOut(person, gatehouse);
    const metrics = async (): Promise<string> => (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    await eventually(async () => (await metrics()).includes('gatehouse_outbox_messages_waiting 1'), 15_000);
    assert.match(await metrics(), /gatehouse_outbox_messages_failed \d/);
  });

  const refused: readonly [metadata: Record<string, unknown>, pointer: string][] = [
    [{ backchannel_logout_uri: 'http://app.example.com/logout' }, '/backchannel_logout_uri'],
    [{ backchannel_logout_uri: 'https://app.example.com/logout#top' }, '/backchannel_logout_uri'],
    [{ backchannel_logout_uri: 'https://user@app.example.com/logout' }, '/backchannel_logout_uri'],
    [{ backchannel_logout_uri: '/logout' }, '/backchannel_logout_uri'],
    [{ backchannel_logout_uri: `https://app.example.com/${'a'.repeat(2_000)}` }, '/backchannel_logout_uri'],
    [{ backchannel_logout_session_required: true }, '/backchannel_logout_uri'],
    [
      { backchannel_logout_session_required: 'yes', backchannel_logout_uri: 'https://app.example.com/logout' },
      '/backchannel_logout_session_required',
    ],
  ];
  for (const [metadata, pointer] of refused) {
    it(`is not registered with ${JSON.stringify(metadata).slice(0, 80)}`, async () => {
      const response = await admin('POST', '/clients', {
        redirect_uris: ['https://app.example.com/callback'],
        ...metadata,
      });
      const body = (await response.json()) as { errors: { pointer: string }[] };
      assert.deepEqual([response.status, body.errors.map((error) => error.pointer)], [400, [pointer]]);
    });
  }

  it('is not for a client without logins', async () => {
    const response = await admin('POST', '/clients', { backchannel_logout_uri: 'https://app.example.com/logout' });
    assert.equal(response.status, 400);
  });

  function register(metadata: Readonly<Record<string, unknown>> = {}): Promise<RegisteredClient> {
    return registerApplication(gatehouse, {
      backchannel_logout_uri: `${receiver.origin}/logout`,
      backchannel_logout_session_required: true,
      ...metadata,
    });
  }

  function admin(method: string, path: string, body?: unknown): Promise<Response> {
    return gatehouse.adminCall(method, path, body);
  }

  /** An account of their own, in a browser of their own or in the one given. */
  async function newPerson(browser?: Person): Promise<{ readonly person: Person; readonly accountId: string }> {
    const account = { email: `${crypto.randomUUID()}@example.com`, password: 'a password of 12' };
    const response = await admin('POST', '/accounts', account);
    const { account_id: accountId } = (await response.json()) as { account_id: string };
    const person = new Person(gatehouse, { account });
    for (const [name, cookie] of browser?.cookies ?? []) person.cookies.set(name, cookie);
    return { person, accountId };
  }

  function refresh({ config, tokens }: SignedIn) {
    return openid.refreshTokenGrant(config, tokens.refresh_token!);
  }

  function waiting() {
    return gatehouse.database.selectFrom('outbox').selectAll().where('failed_at', 'is', null).execute();
  }

  /** Waits until nothing waits, and then a little, for what should not come. */
  async function isSettled(arrivals: number): Promise<void> {
    await receiver.received(arrivals);
    await eventually(async () => (await waiting()).length === 0, 10_000);
    await delay(100);
  }

  async function lastMessageEvent() {
    return gatehouse.database
      .selectFrom('audit_events')
      .selectAll()
      .where('event', 'like', 'message.%')
      .orderBy('occurred_at', 'desc')
      .executeTakeFirstOrThrow();
  }
});
