import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { ask, decide, poll as pollTill, registerTill } from '../support/client/backchannel.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths, ofRefresh } from '../support/client/both_paths.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const QUICK = { id_token_signed_response_alg: 'ES256', scope: 'openid email profile offline_access' };
const OFFLINE = { scope: 'openid email offline_access notes:read', parameters: { prompt: 'consent' } };

describe('a scope of OpenID Connect that an admin takes from a client', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const leave = async ({ client_id }: RegisteredClient, scope: string): Promise<void> => {
    const { status, text } = await admin.patch(`/clients/${client_id}`, { scope });
    assert.equal(status, 200, text);
  };
  const hasEmail = (token: unknown): boolean => 'email' in decodeJwt(String(token));

  it('is out of force when a code is redeemed, on both paths (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const codes = await both.codes(client, { scope: 'openid email notes:read' });
    await leave(client, 'openid');
    const { taken, lean } = await both.compare(codes, client, 'code');
    assert.deepEqual([taken, lean.status, hasEmail(lean.body['id_token'])], [true, 200, false]);
  });

  it('is out of force when a token is refreshed, on both paths, and in force again when it is given back (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const tokens = await both.refreshes(client, { scope: 'openid email notes:read' });
    await leave(client, 'openid');
    const narrowed = await both.compare(tokens, client, 'refresh');
    assert.deepEqual([narrowed.taken, hasEmail(narrowed.lean.body['id_token'])], [true, false]);
    await leave(client, 'openid email');
    const again = await both.compare([ofRefresh(narrowed.lean), ofRefresh(narrowed.ordinary)], client, 'again');
    assert.deepEqual([again.taken, hasEmail(again.lean.body['id_token'])], [true, true]);
  });

  it('that is openid leaves no ID token, on both paths (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const tokens = await both.refreshes(client, { scope: 'openid email notes:read' });
    await leave(client, 'email');
    const { taken, lean } = await both.compare(tokens, client, 'refresh');
    assert.deepEqual([taken, lean.status, lean.body['id_token']], [true, 200, undefined]);
  });

  it('that is offline_access ends refresh tokens that outlast the session, on both paths (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const tokens = await both.refreshes(client, OFFLINE);
    const codes = await both.codes(client, OFFLINE);
    const bound = await both.refreshes(client, { scope: 'openid email notes:read' });
    await leave(client, 'openid email');
    const { lean } = await both.compare(tokens, client, 'refresh');
    assert.deepEqual([lean.status, lean.body['error']], [400, 'invalid_grant']);
    const redeemed = await both.compare(codes, client, 'code');
    assert.deepEqual([redeemed.lean.status, redeemed.lean.body['refresh_token']], [200, undefined]);
    assert.equal((await both.compare(bound, client, 'of the session')).lean.status, 200);
  });

  it('leaves the scope of a token for userinfo, on another node too (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid email profile' });
    await leave(client, 'openid profile');
    let refresh_token = tokens.refresh_token!;
    await eventually(async () => {
      const form = { grant_type: 'refresh_token', refresh_token };
      const answer = await postForm(`${second.url}/token`, form, client);
      const body = (await answer.json()) as { scope: string; refresh_token: string };
      ({ refresh_token } = body);
      return body.scope === 'openid profile';
    });
  });

  describe('takes claims along that were asked for one by one', () => {
    const CLAIMS = JSON.stringify({ userinfo: { email: null }, id_token: { email: { essential: true } } });
    const ALL = 'openid email profile offline_access';
    const asking = { prompt: 'consent', claims: CLAIMS };
    const userinfo = async (token: unknown) => {
      const answer = await fetch(`${gatehouse.url}/userinfo`, {
        headers: { authorization: `Bearer ${String(token)}` },
      });
      return (await answer.json()) as Readonly<Record<string, unknown>>;
    };

    for (const [what, scope] of [
      ['an API and userinfo', 'openid offline_access notes:read'],
      ['userinfo', 'openid offline_access'],
    ] as const) {
      it(`from tokens for ${what}, and when they are refreshed, until they are given back (FIELD-E1)`, async () => {
        const client = await registerApplication(gatehouse, { ...QUICK, scope: ALL });
        const { tokens } = await signIn(gatehouse, client, { scope, parameters: asking });
        const code = await both.codes(client, { scope, parameters: asking });
        assert.ok('email' in (await userinfo(tokens.access_token)));
        assert.ok(hasEmail(tokens.id_token));
        await leave(client, 'openid offline_access');
        await eventually(async () => !('email' in (await userinfo(tokens.access_token))));
        let refresh_token = tokens.refresh_token!;
        for (const query of ['', '?ordinary']) {
          const form = { grant_type: 'refresh_token', refresh_token };
          const body = (await (await postForm(`${gatehouse.url}/token${query}`, form, client)).json()) as Record<
            string,
            string
          >;
          assert.ok(!('email' in (await userinfo(body['access_token']))));
          assert.equal('userinfo_claims' in claimsOf(body['access_token']!), false);
          assert.ok(!hasEmail(body['id_token']));
          refresh_token = body['refresh_token']!;
        }
        const redeemed = await both.compare(code, client, 'code');
        assert.deepEqual([redeemed.lean.status, hasEmail(redeemed.lean.body['id_token'])], [200, false]);
        assert.ok(!('email' in (await userinfo(redeemed.lean.body['access_token']))));
        await leave(client, ALL);
        const again = await postForm(`${gatehouse.url}/token`, { grant_type: 'refresh_token', refresh_token }, client);
        const given = (await again.json()) as Record<string, string>;
        assert.ok('email' in (await userinfo(given['access_token'])));
        assert.ok(hasEmail(given['id_token']));
      });
    }

    it('so a client that never had the scope gets none of them, and no error (FIELD-E1)', async () => {
      const client = await registerApplication(gatehouse, { ...QUICK, scope: 'openid' });
      const person = new Person(gatehouse);
      const query = authorizationRequest(client, { scope: 'openid notes:read', claims: CLAIMS });
      const login = await person.open(`${gatehouse.issuer}/authorize?${query}`);
      const { page } = await person.submit(`${login.url}/login`, gatehouse.account);
      assert.ok(page.includes('Read your notes'), page);
      assert.ok(!page.includes('your e-mail address'), page);
      for (const scope of ['openid', 'openid notes:read']) {
        const { tokens } = await signIn(gatehouse, client, { scope, parameters: { claims: CLAIMS } });
        assert.deepEqual(Object.keys(await userinfo(tokens.access_token)), ['sub']);
        assert.ok(!hasEmail(tokens.id_token));
      }
    });

    it('where a login is under way, too (FIELD-E1)', async () => {
      const client = await registerApplication(gatehouse, { ...QUICK, scope: ALL });
      const person = new Person(gatehouse);
      const query = authorizationRequest(client, { scope: 'openid', claims: CLAIMS });
      const login = await person.open(`${gatehouse.issuer}/authorize?${query}`);
      await leave(client, 'openid');
      const { page } = await person.submit(`${login.url}/login`, gatehouse.account);
      assert.ok(!page.includes('See your e-mail address'), page);
    });

    it('from device codes and backchannel requests, approved before or after (FIELD-E1)', async () => {
      for (const scope of ['openid', 'openid notes:read']) {
        for (const approvedFirst of [true, false]) {
          const tv = await registerDevice(gatehouse, QUICK);
          const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope, claims: CLAIMS });
          const till = await registerTill(gatehouse, { ...QUICK, grant_types: [CIBA] });
          const asked = await ask(gatehouse, till, { scope, claims: CLAIMS });
          const approve = async () => {
            await connectDevice(gatehouse, user_code);
            await decide(gatehouse, asked, 'approve');
          };
          if (approvedFirst) await approve();
          await leave(tv, 'openid');
          await leave(till, 'openid');
          if (!approvedFirst) await approve();
          for (const its of [await poll(gatehouse, tv, device_code), await pollTill(gatehouse, till, asked)]) {
            assert.equal(its.status, 200);
            assert.ok(!hasEmail(its.id_token));
            assert.deepEqual(Object.keys(await userinfo(its.access_token)), ['sub']);
          }
        }
      }
    });
  });

  it('is not in what introspection tells the client of its own tokens (FIELD-E1)', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const opaque = await signIn(gatehouse, client, { scope: 'openid email profile' });
    const jwt = await signIn(gatehouse, client, { scope: 'openid email profile notes:read' });
    await leave(client, 'openid');
    for (const query of ['', '?ordinary']) {
      const scopeOf = async (token: string) => {
        const answer = await postForm(`${gatehouse.url}/introspect${query}`, { token }, client);
        return ((await answer.json()) as { scope?: string }).scope;
      };
      assert.equal(await scopeOf(opaque.tokens.access_token), 'openid');
      assert.equal(await scopeOf(opaque.tokens.refresh_token!), 'openid');
      assert.equal(await scopeOf(jwt.tokens.access_token), 'openid notes:read');
      assert.equal(await scopeOf(jwt.tokens.refresh_token!), 'openid notes:read');
    }
  });

  it('is not in what a device code gives, approved before or after (FIELD-E1)', async () => {
    for (const approvedFirst of [true, false]) {
      const tv = await registerDevice(gatehouse, QUICK);
      const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'openid email profile' });
      if (approvedFirst) await connectDevice(gatehouse, user_code);
      await leave(tv, 'openid profile');
      if (!approvedFirst) {
        const { page } = await connectDevice(gatehouse, user_code);
        assert.ok(!page.includes('e-mail address'));
      }
      const { status, scope, id_token } = await poll(gatehouse, tv, device_code);
      assert.deepEqual([status, scope, hasEmail(id_token)], [200, 'openid profile', false]);
      if (approvedFirst) continue;
      const grants = await gatehouse.database
        .selectFrom('grants')
        .select('payload')
        .where('client_id', '=', tv.client_id)
        .execute();
      assert.ok(grants.length > 0 && grants.every(({ payload }) => !JSON.stringify(payload).includes('email')));
    }
  });

  it('is not in what a backchannel request gives, approved before or after (FIELD-E1)', async () => {
    for (const approvedFirst of [true, false]) {
      const till = await registerTill(gatehouse, { ...QUICK, grant_types: [CIBA] });
      const asked = await ask(gatehouse, till, { scope: 'openid email profile' });
      if (approvedFirst) await decide(gatehouse, asked, 'approve');
      await leave(till, 'openid profile');
      if (!approvedFirst) await decide(gatehouse, asked, 'approve');
      const { status, scope, id_token } = await pollTill(gatehouse, till, asked);
      assert.deepEqual([status, scope, hasEmail(id_token)], [200, 'openid profile', false]);
    }
  });
});

/** None for an opaque token. */
function claimsOf(token: string): object {
  return token.includes('.') ? decodeJwt(token) : {};
}
