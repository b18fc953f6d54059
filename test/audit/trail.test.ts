import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { sql } from 'kysely';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('the audit trail', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** What one request left behind, found by the id that its answer carried. */
  const eventsOf = (response: Response) =>
    gatehouse.database
      .selectFrom('audit_events')
      .selectAll()
      .where('request_id', '=', response.headers.get('x-request-id'))
      .orderBy('sequence')
      .execute();
  const theEventOf = async (response: Response, name: string) => {
    const events = await eventsOf(response);
    const found = events.find(({ event }) => event === name);
    assert.ok(found, `only ${events.map(({ event }) => event).join()} for status ${response.status}`);
    assert.equal(found.address, '127.0.0.1');
    return found;
  };
  /** All of an account's or a client's events from a moment on. */
  const namesSince = async (moment: Date): Promise<string[]> => {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('occurred_at', '>=', moment)
      .orderBy('occurred_at')
      .execute();
    return rows.map(({ event }) => event);
  };
  const ask = (form: Record<string, string> = {}, who: RegisteredClient = client) =>
    postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', ...form }, who);

  describe('tells who did what, from where, in which request', () => {
    it('when a token is issued: which one, for what, to whom', async () => {
      const response = await ask({ scope: 'notes:read' });
      const event = await theEventOf(response, 'token.issued');
      const { access_token } = (await response.json()) as { access_token: string };
      assert.deepEqual(
        [event.actor_type, event.actor_id, event.client_id],
        ['client', client.client_id, client.client_id],
      );
      assert.equal(event.outcome, 'success');
      assert.deepEqual(
        [event.details['jti'], event.details['resource'], event.details['scope'], event.details['grant_type']],
        [decodeJwt(access_token).jti, gatehouse.demo.resource, 'notes:read', 'client_credentials'],
      );
    });

    it('when a secret is wrong: which client was named, by an unknown actor', async () => {
      const response = await ask({}, { ...client, client_secret: 'wrong' });
      const event = await theEventOf(response, 'token.refused');
      assert.deepEqual([event.actor_type, event.actor_id, event.client_id], ['anonymous', null, client.client_id]);
      assert.equal(event.outcome, 'refused');
      assert.equal(event.details['error'], 'invalid_client');
      // the reason is for the trail, and not for the caller
      const reason = String(event.details['reason']);
      assert.match(reason, /secret/);
      assert.equal((await response.text()).includes(reason), false);
    });

    it('when a scope is refused', async () => {
      const event = await theEventOf(await ask({ scope: 'clients:write' }), 'token.refused');
      assert.deepEqual([event.actor_type, event.actor_id], ['client', client.client_id]);
      assert.equal(event.details['error'], 'invalid_scope');
    });

    it('when a person logs in, consents and gets tokens', async () => {
      const since = new Date();
      const request = await requestCode(gatehouse, application, { scope: 'notes:read' });
      const response = await redeem(gatehouse.url, application, request);
      const event = await theEventOf(response, 'token.issued');
      const { access_token } = (await response.json()) as { access_token: string };
      assert.equal(event.account_id, decodeJwt(access_token).sub);
      assert.equal(event.details['grant_id'], decodeJwt(access_token)['gid']);
      assert.deepEqual(await namesSince(since), [
        'login.succeeded',
        'consent.given',
        'authorization.granted',
        'token.issued',
      ]);

      const granted = await gatehouse.database
        .selectFrom('audit_events')
        .selectAll()
        .where('event', 'in', ['login.succeeded', 'consent.given', 'authorization.granted'])
        .where('occurred_at', '>=', since)
        .execute();
      for (const { event: name, actor_type, actor_id, account_id, client_id } of granted) {
        assert.deepEqual([actor_type, actor_id], ['account', event.account_id], name);
        assert.deepEqual([account_id, client_id], [event.account_id, application.client_id], name);
      }
    });

    it('when a login fails, and when there were too many', async () => {
      const since = new Date();
      const account = { email: 'nobody@example.com', password: 'not it, not at all' };
      const person = new Person(gatehouse, { account });
      await assert.rejects(requestCode(gatehouse, application, { person }), /same page again/);
      const names = new Set(await namesSince(since));
      assert.deepEqual(names, new Set(['login.failed', 'login.throttled']));
    });

    it('when the person says no', async () => {
      const since = new Date();
      const person = new Person(gatehouse, { decision: 'deny' });
      await requestCode(gatehouse, application, { person });
      assert.deepEqual(await namesSince(since), ['login.succeeded', 'consent.denied', 'authorization.refused']);
    });

    it('when a code comes twice', async () => {
      const request = await requestCode(gatehouse, application);
      await redeem(gatehouse.url, application, request);
      const again = await redeem(gatehouse.url, application, request);
      const event = await theEventOf(again, 'code.reused');
      assert.equal(event.client_id, application.client_id);
      await theEventOf(again, 'grant.revoked');
      await theEventOf(again, 'token.refused');
    });

    it('when a refresh token is used again after its grace', async () => {
      const { tokens } = await signIn(gatehouse, application);
      const refresh = () =>
        postForm(
          `${gatehouse.url}/token`,
          { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! },
          application,
        );
      await theEventOf(await refresh(), 'token.issued');
      moveClock(11);
      const event = await theEventOf(await refresh(), 'refresh_token.reused');
      assert.deepEqual([event.client_id, event.account_id], [application.client_id, tokens.claims()!.sub]);
    });

    it('when a client assertion is replayed', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ES256');
      const { client_id } = await registerClient(gatehouse, {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [await exportJWK(publicKey)] },
      });
      const client_assertion = await new SignJWT({ jti: randomUUID() })
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(client_id)
        .setSubject(client_id)
        .setAudience(gatehouse.issuer)
        .setExpirationTime('1m')
        .sign(privateKey);
      const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
      const form = { grant_type: 'client_credentials', client_assertion, client_assertion_type: type };
      await theEventOf(await postForm(`${gatehouse.url}/token`, form), 'token.issued');
      const replayed = await theEventOf(await postForm(`${gatehouse.url}/token`, form), 'assertion.replayed');
      assert.deepEqual([replayed.actor_type, replayed.client_id], ['anonymous', client_id]);
    });

    it('when tokens are revoked: a JWT, an opaque one, a refresh token', async () => {
      const revoke = (token: string, who: RegisteredClient) => postForm(`${gatehouse.url}/revoke`, { token }, who);
      const jwt = await requestToken(gatehouse.url, client);
      const revoked = await theEventOf(await revoke(jwt, client), 'token.revoked');
      assert.equal(revoked.details['jti'], decodeJwt(jwt).jti);
      assert.deepEqual([revoked.actor_type, revoked.actor_id], ['client', client.client_id]);

      for (const kind of ['access_token', 'refresh_token'] as const) {
        const { tokens } = await signIn(gatehouse, application);
        const event = await theEventOf(await revoke(tokens[kind]!, application), 'token.revoked');
        assert.equal(event.details['token_type'], kind);
        assert.equal(event.account_id, tokens.claims()!.sub);
      }
    });

    it('when a client tries to revoke, introspect or use what is not its own', async () => {
      const jwt = await requestToken(gatehouse.url, client);
      const refused = await postForm(`${gatehouse.url}/revoke`, { token: jwt }, application);
      assert.equal((await theEventOf(refused, 'token.revoked')).outcome, 'refused');
      const wrong = { ...client, client_secret: 'wrong' };
      await theEventOf(await postForm(`${gatehouse.url}/introspect`, { token: jwt }, wrong), 'token.introspected');
      const headers = { authorization: `Bearer ${jwt}` };
      await theEventOf(await fetch(`${gatehouse.url}/userinfo`, { headers }), 'userinfo.refused');
    });

    it('when an authorization request is refused', async () => {
      const url = `${gatehouse.url}/authorize?client_id=${application.client_id}&response_type=token`;
      const event = await theEventOf(await fetch(url, { redirect: 'manual' }), 'authorization.refused');
      assert.deepEqual([event.outcome, event.client_id], ['refused', application.client_id]);
    });

    it('when an admin revokes a client', async () => {
      const { client_id } = await registerClient(gatehouse);
      const response = await gatehouse.adminCall('POST', `/clients/${client_id}/revoke`, { reason: 'A test' });
      const event = await theEventOf(response, 'client.revoked');
      assert.deepEqual([event.actor_type, event.actor_id], ['client', gatehouse.admin.client_id]);
      assert.deepEqual([event.client_id, event.details['reason']], [client_id, 'A test']);
    });

    it('when signing keys rotate', async () => {
      const body = { alg: 'ES256', reason: 'A test', emergency: true };
      const event = await theEventOf(await gatehouse.adminCall('POST', '/keys/rotate', body), 'signing_key.rotated');
      assert.equal(event.details['emergency'], true);
    });
  });

  it('gives each request an id of its own, and takes none from outside', async () => {
    const send = async () =>
      (await fetch(`${gatehouse.url}/jwks`, { headers: { 'x-request-id': 'mine' } })).headers.get('x-request-id');
    const [one, other] = [await send(), await send()];
    assert.ok(one && other && one !== other && one !== 'mine');
  });

  it('believes no X-Forwarded-For from an unknown sender', async () => {
    const forged = { 'x-forwarded-for': '203.0.113.7', forwarded: 'for=203.0.113.7' };
    const response = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, client, forged);
    await theEventOf(response, 'token.issued');
  });

  it('is in the log, too, event by event', async () => {
    const response = await ask();
    const [event] = await eventsOf(response);
    const line = gatehouse.log.find((candidate) => candidate.includes(response.headers.get('x-request-id')!));
    const { audit } = JSON.parse(line ?? '{}') as { audit?: Record<string, unknown> };
    assert.deepEqual([audit?.['event'], audit?.['client_id']], [event?.event, client.client_id]);
    assert.deepEqual([audit?.['stream'], Number(audit?.['sequence'])], [event?.stream, Number(event?.sequence)]);
  });

  it('numbers the events of a stream without a gap, also under load', async () => {
    await Promise.all(Array.from({ length: 50 }, () => ask()));
    const { rows } = await sql<{ gaps: number }>`select count(*)::int as gaps from (
      select sequence - lag(sequence) over (partition by stream order by sequence) as step from audit_events) as steps
      where step <> 1`.execute(gatehouse.database);
    assert.deepEqual(rows, [{ gaps: 0 }]);
  });

  it('can not be changed, not even with the database password of this server', async () => {
    const { database } = gatehouse;
    for (const statement of [
      sql`update audit_events set outcome = 'success'`,
      sql`delete from audit_events`,
      sql`truncate audit_events`,
    ]) {
      await assert.rejects(statement.execute(database), /appended to, never changed/);
    }
  });
});
