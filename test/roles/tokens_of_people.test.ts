import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import {
  ask,
  askRaw,
  decide,
  openPage,
  pageOf,
  poll as pollTill,
  registerTill,
} from '../support/client/backchannel.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths, ofRefresh } from '../support/client/both_paths.ts';
import { basic, registerApplication, requestCode, signIn, REDIRECT_URI } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom, type HeldRole } from '../support/client/roles.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const QUICK = { id_token_signed_response_alg: 'ES256', scope: 'openid email profile offline_access' };
const BOTH = 'openid notes:read notes:write';

describe('the token of a person', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
    accountId = await demoAccountId(admin);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  /** Runs `work` while `notes:write`, or other scopes, are only for members of a group. */
  const whileTied = async (work: (held: HeldRole) => Promise<void>, ...scopes: string[]): Promise<void> => {
    const held = await makeRole(admin, gatehouse.demo.resource, ...(scopes.length > 0 ? scopes : ['notes:write']));
    try {
      await work(held);
    } finally {
      await endRole(admin, held);
    }
  };
  const fromApi = (scope: unknown): string[] =>
    String(scope)
      .split(' ')
      .filter((name) => name.startsWith('notes:'));
  const errorOf = (callback: URL) => [
    callback.searchParams.get('error'),
    callback.searchParams.get('error_description'),
  ];

  it('has a scope of a role only for people who hold the role, and the others for everybody', async () => {
    await whileTied(async (held) => {
      const client = await registerApplication(gatehouse, QUICK);
      const without = await signIn(gatehouse, client, { scope: BOTH });
      assert.deepEqual(fromApi(without.tokens.scope), ['notes:read']);
      assert.deepEqual(fromApi(decodeJwt(without.tokens.access_token)['scope']), ['notes:read']);
      await addTo(admin, held, accountId);
      const holder = await signIn(gatehouse, client, { scope: BOTH });
      assert.deepEqual(fromApi(holder.tokens.scope), ['notes:read', 'notes:write']);
    });
    const client = await registerApplication(gatehouse, QUICK);
    const { tokens } = await signIn(gatehouse, client, { scope: BOTH });
    assert.deepEqual(fromApi(tokens.scope), ['notes:read', 'notes:write'], 'No role has the scope any more.');
  });

  it('comes after a consent page that asks only for what the person may have', async () => {
    await whileTied(async () => {
      const client = await registerApplication(gatehouse, QUICK);
      const person = new Person(gatehouse);
      const login = await person.open(authorizationUrl(client, BOTH));
      const { page } = await person.submit(
        new URL(/action="([^"]*login)"/.exec(login.page)![1]!, login.url),
        gatehouse.account,
      );
      assert.match(page, /Read your notes/);
      assert.doesNotMatch(page, /Write and delete your notes/);
    });
  });

  const authorizationUrl = (client: RegisteredClient, scope: string): URL => {
    const url = new URL(`${gatehouse.issuer}/authorize`);
    url.search = new URLSearchParams({
      client_id: client.client_id,
      redirect_uri: REDIRECT_URI,
      response_type: 'code',
      scope,
      state: 'x',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    }).toString();
    return url;
  };

  it('is refused with access_denied if nothing is left, without and with prompt=none', async () => {
    await whileTied(async () => {
      const client = await registerApplication(gatehouse, QUICK);
      const person = new Person(gatehouse);
      const answer = await requestCode(gatehouse, client, { scope: 'notes:write', person });
      const expected = ['access_denied', 'the roles of the end-user permit none of the requested scopes'];
      assert.deepEqual(errorOf(answer.callback), expected);
      const silent = await requestCode(gatehouse, client, {
        scope: 'notes:write',
        parameters: { prompt: 'none' },
        person,
      });
      assert.deepEqual(errorOf(silent.callback), expected);
      assert.ok(!person.trace.some((step) => /consent/.test(step)));
    });
  });

  it('is for userinfo alone if openid is what is left', async () => {
    await whileTied(async () => {
      const client = await registerApplication(gatehouse, QUICK);
      const claims = JSON.stringify({ userinfo: { name: null } });
      const scope = 'openid email notes:write';
      const person = new Person(gatehouse);
      const { tokens } = await signIn(gatehouse, client, { scope, parameters: { claims }, person });
      assert.equal(tokens.scope, 'openid email');
      const { page } = await person.open(`${gatehouse.issuer}/account/applications`);
      assert.doesNotMatch(page, /Let Notes/, 'The API gets no token, so nobody is asked what it may read.');
      const { status } = await fetch(`${gatehouse.url}/userinfo`, {
        headers: { authorization: `Bearer ${tokens.access_token}` },
      });
      assert.equal(status, 200);
    });
  });

  it('loses a scope with the membership when a code is redeemed, on both paths', async () => {
    await whileTied(async (held) => {
      await addTo(admin, held, accountId);
      const client = await registerApplication(gatehouse, QUICK);
      const codes = await both.codes(client, { scope: BOTH });
      await removeFrom(admin, held, accountId);
      const { taken, lean } = await both.compare(codes, client, 'code');
      assert.deepEqual([taken, lean.status, fromApi(lean.body['scope'])], [true, 200, ['notes:read']]);
    });
  });

  it('loses a scope when a token is refreshed, on both paths, and has it again with the role', async () => {
    await whileTied(async (held) => {
      await addTo(admin, held, accountId);
      const client = await registerApplication(gatehouse, QUICK);
      const tokens = await both.refreshes(client, { scope: BOTH });
      await removeFrom(admin, held, accountId);
      const narrowed = await both.compare(tokens, client, 'refresh');
      assert.deepEqual([narrowed.taken, fromApi(narrowed.lean.body['scope'])], [true, ['notes:read']]);
      await addTo(admin, held, accountId);
      const again = await both.compare([ofRefresh(narrowed.lean), ofRefresh(narrowed.ordinary)], client, 'again');
      assert.deepEqual([again.taken, fromApi(again.lean.body['scope'])], [true, ['notes:read', 'notes:write']]);
    });
  });

  it('is refused with access_denied at a refresh if nothing is left, and the refresh token stays usable', async () => {
    await whileTied(async (held) => {
      await addTo(admin, held, accountId);
      const client = await registerApplication(gatehouse, QUICK);
      const tokens = await both.refreshes(client, { scope: 'openid notes:write' });
      await removeFrom(admin, held, accountId);
      const refused = await both.compare(tokens, client, 'refused');
      assert.deepEqual([refused.taken, refused.lean.status, refused.lean.body['error']], [false, 400, 'access_denied']);
      await addTo(admin, held, accountId);
      const again = await both.compare(tokens, client, 'again');
      assert.deepEqual([again.taken, again.lean.status], [true, 200]);
    });
  });

  it('follows each change within a second on another node, on both paths', async () => {
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:write');
    await addTo(admin, held, accountId);
    const client = await registerApplication(gatehouse, QUICK);
    const { tokens } = await signIn(gatehouse, client, { scope: BOTH });
    let refreshToken = tokens.refresh_token!;
    const scopesAt = async (node: Gatehouse, query: string): Promise<string[]> => {
      const form = { grant_type: 'refresh_token', refresh_token: refreshToken };
      const response = await fetch(`${node.url}/token${query}`, {
        method: 'POST',
        headers: { authorization: basic(client.client_id, client.client_secret) },
        body: new URLSearchParams(form),
      });
      const body = (await response.json()) as { scope: string; refresh_token: string };
      refreshToken = body.refresh_token;
      return fromApi(body.scope);
    };
    const expectEverywhere = async (...scopes: string[]): Promise<void> => {
      for (const node of [gatehouse, second])
        for (const query of ['', '?ordinary'])
          await eventually(async () => (await scopesAt(node, query)).join() === scopes.join());
    };
    await expectEverywhere('notes:read', 'notes:write');
    await removeFrom(admin, held, accountId);
    await expectEverywhere('notes:read');
    await addTo(admin, held, accountId);
    await expectEverywhere('notes:read', 'notes:write');
    await admin.patch(`/groups/${held.groupId}`, { roles: [] });
    await expectEverywhere('notes:read');
    await admin.patch(`/groups/${held.groupId}`, { roles: [held.role] });
    const both_ = { resources: [{ resource: gatehouse.demo.resource, scopes: ['notes:read', 'notes:write'] }] };
    await admin.patch(`/roles/${held.role}`, both_);
    await expectEverywhere('notes:read', 'notes:write');
    await endRole(admin, held);
    await expectEverywhere('notes:read', 'notes:write');
  });

  it('is narrowed at introspection and is inactive if nothing is left', async () => {
    const whole = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, whole, accountId);
    await whileTied(async (held) => {
      await addTo(admin, held, accountId);
      const client = await registerApplication(gatehouse, QUICK);
      const { tokens } = await signIn(gatehouse, client, {
        scope: 'notes:read notes:write',
        parameters: { resource: gatehouse.demo.resource },
      });
      const introspect = async (): Promise<readonly unknown[]> => {
        const answers = await Promise.all(
          ['', '?ordinary'].map(async (query) => {
            const response = await postForm(
              `${gatehouse.url}/introspect${query}`,
              { token: tokens.access_token },
              client,
            );
            return (await response.json()) as { active: boolean; scope?: string };
          }),
        );
        assert.deepEqual(answers[0], answers[1]);
        return [answers[0]!.active, answers[0]!.scope];
      };
      assert.deepEqual(await introspect(), [true, 'notes:read notes:write']);
      await removeFrom(admin, held, accountId);
      assert.deepEqual(await introspect(), [true, 'notes:read']);
      await removeFrom(admin, whole, accountId);
      assert.deepEqual(await introspect(), [false, undefined]);
      const revoked = await postForm(`${gatehouse.url}/revoke`, { token: tokens.access_token }, client);
      assert.equal(revoked.status, 200);
      for (const one of [held, whole]) await addTo(admin, one, accountId);
      assert.deepEqual(await introspect(), [false, undefined], 'It was revoked while it was of no use.');
    });
    await endRole(admin, whole);
  });

  it('of a device has what its person may have, approved before or after the change', async () => {
    for (const approvedFirst of [true, false]) {
      await whileTied(async (held) => {
        await addTo(admin, held, accountId);
        const tv = await registerDevice(gatehouse, QUICK);
        const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: BOTH });
        if (approvedFirst) await connectDevice(gatehouse, user_code);
        await removeFrom(admin, held, accountId);
        if (!approvedFirst) await connectDevice(gatehouse, user_code);
        const { status, scope } = await poll(gatehouse, tv, device_code);
        assert.deepEqual([status, fromApi(scope)], [200, ['notes:read']]);
      });
    }
  });

  it('of a device is refused with access_denied if nothing is left', async () => {
    await whileTied(async () => {
      const tv = await registerDevice(gatehouse, QUICK);
      const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'notes:write' });
      const { page } = await connectDevice(gatehouse, user_code);
      assert.match(page, /was not connected/);
      const { status, error } = await poll(gatehouse, tv, device_code);
      assert.deepEqual([status, error], [400, 'access_denied']);
    });
  });

  it('of a backchannel request has what its person may have, approved before or after the change', async () => {
    for (const approvedFirst of [true, false]) {
      await whileTied(async (held) => {
        await addTo(admin, held, accountId);
        const till = await registerTill(gatehouse, { ...QUICK, grant_types: [CIBA] });
        const asked = await ask(gatehouse, till, { scope: BOTH });
        if (approvedFirst) await decide(gatehouse, asked, 'approve');
        await removeFrom(admin, held, accountId);
        if (!approvedFirst) {
          const { page } = await openPage(pageOf(gatehouse, asked), new Person(gatehouse));
          assert.match(page, /Read your notes/);
          assert.doesNotMatch(page, /Write and delete your notes/);
          await decide(gatehouse, asked, 'approve');
        }
        const { status, scope } = await pollTill(gatehouse, till, asked);
        assert.deepEqual([status, fromApi(scope)], [200, ['notes:read']]);
      });
    }
  });

  it('of a backchannel request is refused with access_denied at once if nothing is left', async () => {
    await whileTied(async () => {
      const till = await registerTill(gatehouse, { ...QUICK, grant_types: [CIBA] });
      for (const scope of ['openid notes:write', 'openid email notes:write']) {
        const { body } = await askRaw(gatehouse, till, { scope, login_hint: gatehouse.account.email });
        assert.equal(body.error, 'access_denied', scope);
      }
    });
  });

  it('is not narrowed for one API by a role of another with a scope of the same name', async () => {
    const files = await registerResource(gatehouse, 'files');
    const identifier = 'https://notes-two.example.com';
    const scopes = [{ name: 'notes:write', description: 'Write' }];
    assert.equal((await admin.post('/resources', { identifier, scopes })).status, 201);
    const held = await makeRole(admin, identifier, 'notes:write');
    const client = await registerApplication(gatehouse, {
      ...QUICK,
      resources: [
        { resource: gatehouse.demo.resource, scopes: ['notes:write'] },
        { resource: identifier, scopes: ['notes:write'] },
        files,
      ],
    });
    const { tokens } = await signIn(gatehouse, client, {
      scope: 'notes:write',
      parameters: { resource: gatehouse.demo.resource },
    });
    assert.equal(tokens.scope, 'notes:write');
    const other = await requestCode(gatehouse, client, {
      scope: 'notes:write',
      parameters: { resource: identifier },
    });
    assert.equal(errorOf(other.callback)[0], 'access_denied');
    await endRole(admin, held);
  });

  it('says nothing about programs: client credentials keep the scopes of roles', async () => {
    await whileTied(async () => {
      const token = await requestToken(gatehouse.url, gatehouse.demo);
      assert.deepEqual(decodeJwt(token)['scope'], gatehouse.demo.scope);
    });
  });
});
