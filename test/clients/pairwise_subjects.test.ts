import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { Admin } from '../support/client/admin.ts';
import { REDIRECT_URI, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const PAIRWISE = { subject_type: 'pairwise' } as const;

describe('pairwise subjects', () => {
  let gatehouse: Gatehouse;
  let beside: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    beside = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse, PAIRWISE);
    accountId = (await admin.get('/accounts')).body.items[0]!.account_id;
  });
  after(async () => {
    await beside.stop();
    await gatehouse.stop();
  });

  const subOf = async (who: RegisteredClient, person = new Person(gatehouse)): Promise<string> =>
    (await signIn(gatehouse, who, { person })).tokens.claims()!.sub;
  const at = (host: string) => ({ ...PAIRWISE, redirect_uris: [`https://${host}/callback`] });
  /** To a redirect URI of its own, to which the helper of the code flow doesn't go. */
  const subAt = async (host: string): Promise<string> => {
    const { client_id, client_secret } = await registerApplication(gatehouse, at(host));
    const redirect_uri = `https://${host}/callback`;
    const verifier = openid.randomPKCECodeVerifier();
    const request = { client_id, response_type: 'code', scope: 'openid', redirect_uri, code_challenge_method: 'S256' };
    const code_challenge = await openid.calculatePKCECodeChallenge(verifier);
    const url = `${gatehouse.issuer}/authorize?${new URLSearchParams({ ...request, code_challenge })}`;
    const code = (await new Person(gatehouse).authorize(url)).searchParams.get('code')!;
    const form = { grant_type: 'authorization_code', redirect_uri, code, code_verifier: verifier };
    const answer = await postForm(`${gatehouse.url}/token`, form, { client_id, client_secret });
    return decodeJwt(((await answer.json()) as { id_token: string }).id_token).sub!;
  };

  it('do not reveal the account, and stay the same from login to login', async () => {
    const sub = await subOf(client);
    assert.match(sub, /^[\w-]{43}$/);
    assert.equal(sub.includes(accountId), false);
    assert.equal(await subOf(client), sub);
  });

  it('are the same within one sector, and others in the next', async () => {
    const sub = await subOf(client);
    assert.equal(await subOf(await registerApplication(gatehouse, PAIRWISE)), sub);
    assert.equal(await subAt('app.example.com'), sub);
    assert.notEqual(await subAt('other.example.com'), sub);
    assert.equal(await subOf(await registerApplication(gatehouse)), accountId);
  });

  it('are the same in the ID token, at userinfo, in an API’s token, at introspection and after a refresh', async () => {
    const { config, tokens } = await signIn(gatehouse, client);
    const { sub } = tokens.claims()!;
    assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub)).sub, sub);
    assert.equal((await openid.refreshTokenGrant(config, tokens.refresh_token!)).claims()!.sub, sub);
    assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).sub, sub);

    const { resource } = gatehouse.demo;
    const api = await signIn(gatehouse, client, { scope: 'openid notes:read', parameters: { resource } });
    assert.equal(decodeJwt(api.tokens.access_token).sub, sub);
    const server = await registerClient(gatehouse, { introspects: [resource] });
    const asked = await postForm(`${gatehouse.url}/introspect`, { token: api.tokens.access_token }, server);
    assert.equal(((await asked.json()) as { sub: string }).sub, sub);
  });

  it('are the same on every node', async () => {
    const { verifier, code } = await requestCode(gatehouse, client);
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier };
    const answer = await postForm(`${beside.url}/token`, { ...form, redirect_uri: REDIRECT_URI }, client);
    const { id_token } = (await answer.json()) as { id_token: string };
    assert.equal(decodeJwt(id_token).sub, await subOf(client));
  });

  it('stay what they are when the master key changes', async () => {
    const sub = await subOf(client);
    const changed = Buffer.alloc(32, 'another master key');
    const keys = [changed, Buffer.from(TEST_MASTER_KEY, 'base64')].map((bytes) => new MasterKey(bytes));
    const both = [keys[0]!, keys[1]!] as const;
    assert.notEqual(await new Vault(gatehouse.database, both).rewrap(), 0);
    const environment = { GATEHOUSE_MASTER_KEY: changed.toString('base64') };
    const rewrapped = await startGatehouse({ beside: gatehouse, environment });
    try {
      const { verifier, code } = await requestCode(gatehouse, client);
      const form = { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: verifier };
      const answer = await postForm(`${rewrapped.url}/token`, form, client);
      const { id_token } = (await answer.json()) as { id_token: string };
      assert.equal(decodeJwt(id_token).sub, sub);
    } finally {
      await new Vault(gatehouse.database, [keys[1]!, keys[0]!]).rewrap();
      await rewrapped.stop();
    }
  });

  it('work as hints: for the person they name alone', async () => {
    const person = new Person(gatehouse);
    const { tokens } = await signIn(gatehouse, client, { person });
    const silent = { prompt: 'none', id_token_hint: tokens.id_token! };
    const again = await signIn(gatehouse, client, { person, parameters: silent });
    assert.equal(again.tokens.claims()!.sub, tokens.claims()!.sub);

    const account = { email: 'second@example.com', password: 'a password of twelve' };
    assert.equal((await admin.post('/accounts', account)).status, 201);
    const second = new Person(gatehouse, { account });
    await signIn(gatehouse, client, { person: second });
    const { callback } = await requestCode(gatehouse, client, { person: second, parameters: silent });
    assert.equal(callback.searchParams.get('error'), 'login_required');
  });

  it('log people out with an ID token as the hint', async () => {
    const back = 'https://app.example.com/bye';
    const its = await registerApplication(gatehouse, { ...PAIRWISE, post_logout_redirect_uris: [back] });
    const person = new Person(gatehouse);
    const { tokens } = await signIn(gatehouse, its, { person });
    const query = new URLSearchParams({ id_token_hint: tokens.id_token!, post_logout_redirect_uri: back });
    const { page, url } = await person.open(`${gatehouse.issuer}/logout?${query}`);
    const [, action = '', xsrf = ''] = /action="([^"]*)"><input type="hidden" name="xsrf" value="([^"]*)"/.exec(page)!;
    assert.equal((await person.submit(new URL(action, url), { xsrf, logout: 'yes' })).url, back);
    const { callback } = await requestCode(gatehouse, its, { person, parameters: { prompt: 'none' } });
    assert.equal(callback.searchParams.get('error'), 'login_required');
  });

  it('can be looked up by an admin, who knows the account', async () => {
    const sub = await subOf(client);
    const { body } = await admin.get(`/accounts/${accountId}/grants?limit=200`);
    const subs = new Map(body.items.map((grant) => [grant.client_id, grant['sub']]));
    assert.equal(subs.get(client.client_id), sub);
    const other = await registerApplication(gatehouse);
    await signIn(gatehouse, other);
    const grants = (await admin.get(`/accounts/${accountId}/grants?limit=200`)).body.items;
    assert.equal(grants.find((grant) => grant.client_id === other.client_id)!['sub'], accountId);
  });

  it('end what a client has when it is changed to them or from them: no token lives on under another name', async () => {
    const its = await registerApplication(gatehouse);
    const { config, tokens } = await signIn(gatehouse, its);
    assert.equal((await admin.patch(`/clients/${its.client_id}`, { client_name: 'Same' })).status, 200);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.equal((await admin.patch(`/clients/${its.client_id}`, PAIRWISE)).status, 200);
    await eventually(async () => {
      const refused = await openid.refreshTokenGrant(config, renewed.refresh_token!).catch((error: unknown) => error);
      return (refused as { error?: string }).error === 'invalid_grant';
    });
  });

  for (const [what, metadata] of Object.entries({
    'clients without logins': { grant_types: ['client_credentials'], redirect_uris: [] },
    'redirect URIs of several hosts': { redirect_uris: ['https://a.example.com/cb', 'https://b.example.com/cb'] },
    'an app on a device, whose host says nothing': {
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/cb'],
    },
    'a type that there isn’t': { redirect_uris: ['https://a.example.com/cb'], subject_type: 'private' },
  })) {
    it(`are refused for ${what}, unless a sector is named`, async () => {
      const { status, body } = await admin.post('/clients', { ...PAIRWISE, ...metadata });
      assert.equal(status, 400);
      assert.match(body.errors[0]!.pointer!, /^\/(subject_type|sector_identifier_uri)$/);
    });
  }
});
