import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { search, type JSONValue } from '@jmespath-community/jmespath';
import { Admin } from '../support/client/admin.ts';
import { requestCode } from '../support/client/code_flow.ts';
import { DocumentedApplication, type ToldClaims } from '../support/client/documented_application.ts';
import { addTo, demoAccountId } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { newAccount } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const GROUPS = ['Developers', 'Platform'];
const NAME = 'Ada Lovelace';
/** With `GROUPS`, one more than an ID token has. */
const FURTHER_GROUPS = 199;

describe('the settings in docs/roles.md', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let ada: Person;
  /** In no group, with an address that is not verified. */
  let stranger: Person;
  /** In `Platform`, and in more groups than an ID token has. */
  let joiner: Person;
  let groupIds: Readonly<Record<string, string>>;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    const adaId = await demoAccountId(admin);
    await admin.patch(`/accounts/${adaId}`, { name: NAME, email_verified: true });
    const made = await Promise.all(GROUPS.map((name) => admin.post('/groups', { name })));
    groupIds = Object.fromEntries(GROUPS.map((name, index) => [name, String(made[index]!.body['group_id'])]));
    for (const groupId of Object.values(groupIds)) await addTo(admin, { groupId }, adaId);
    ada = new Person(gatehouse);
    stranger = new Person(gatehouse, { account: await newAccount(gatehouse) });
    joiner = new Person(gatehouse, { account: await joinerOfManyGroups() });
  });
  after(() => gatehouse.stop());

  async function joinerOfManyGroups() {
    const account = await newAccount(gatehouse);
    const now = new Date();
    const groups = Array.from({ length: FURTHER_GROUPS }, (_, index) => ({
      group_id: `group_further_${index}`,
      name: `Further ${index}`,
      created_at: now,
      updated_at: now,
    }));
    await gatehouse.database.insertInto('groups').values(groups).execute();
    const members = groups.map(({ group_id }) => ({
      group_id,
      account_id: account.accountId,
      by_hand: true,
      added_at: now,
    }));
    await gatehouse.database.insertInto('group_members').values(members).execute();
    for (const groupId of Object.values(groupIds)) await addTo(admin, { groupId }, account.accountId);
    // the change of a group makes the node read them all
    await admin.patch(`/groups/${groupIds['Platform']}`, { description: 'Runs the platform' });
    return account;
  }

  /** What every application here does with an ID token: it is from the issuer, for the client, and names the person. */
  function assertTold({ client, claims }: DocumentedApplication, { idToken, header, userinfo }: ToldClaims): void {
    assert.equal(header.alg, 'RS256');
    assert.equal(idToken.aud, client.client_id);
    assert.equal(userinfo['sub'], idToken.sub);
    const types: Readonly<Record<string, unknown>> = {
      sub: idToken.sub,
      email: gatehouse.account.email,
      email_verified: true,
      name: NAME,
      groups: GROUPS,
    };
    for (const claim of claims)
      for (const told of [idToken, userinfo]) assert.deepEqual(told[claim], types[claim], claim);
  }

  describe('for Argo CD', () => {
    let argo: DocumentedApplication;
    let scopes: readonly string[];
    before(async () => {
      argo = await DocumentedApplication.register(admin, 'Argo CD');
      scopes = JSON.parse(argo.setting(/requestedScopes: (\[.*\])/)[0]!) as string[];
    });

    it('give the web interface the claims of its policy in the ID token', async () => {
      const [web = ''] = argo.setting(/^url: (.*)$/m);
      const told = await argo.logIn(ada, scopes, `${web}/auth/callback`);
      assertTold(argo, told);
      const inPolicy = argo.setting(/^scopes: '\[(\w+), (\w+)\]'$/m);
      assert.deepEqual([...inPolicy].sort(), [...argo.claims].sort());
      assert.ok(GROUPS.includes(argo.setting(/^ {2}g, (\w+), role:admin$/m)[0]!));
    });

    it('let the command line, which adds offline_access, log in on its port and refresh', async () => {
      const { scopes_supported = [] } = await argo.discovered();
      assert.ok(scopes_supported.includes('offline_access'), 'else the command line would not ask for it');
      assert.equal(argo.clientInDocument.scope.includes('offline_access'), false);
      const told = await argo.logIn(ada, [...scopes, 'offline_access'], 'http://localhost:8085/auth/callback');
      assertTold(argo, told);
      assert.deepEqual((await argo.refresh(told.refreshToken))['groups'], GROUPS);
    });

    it('say rightly where the groups are if there are more than 200', async () => {
      const [web = ''] = argo.setting(/^url: (.*)$/m);
      const { idToken, userinfo } = await argo.logIn(joiner, scopes, `${web}/auth/callback`);
      assert.deepEqual([idToken['groups'], idToken['groups_omitted']], [undefined, true]);
      assert.equal((userinfo['groups'] as string[]).length, GROUPS.length + FURTHER_GROUPS);
      const { userinfo_endpoint } = await argo.discovered();
      assert.equal(gatehouse.issuer + argo.setting(/^userInfoPath: (.*)$/m)[0]!, userinfo_endpoint);
    });

    it('say rightly that a scope ‘groups’ is refused', async () => {
      const redirect_uri = argo.clientInDocument.redirect_uris[0]!;
      const how = { person: ada, scope: 'openid groups', parameters: { redirect_uri } };
      const { callback } = await requestCode(gatehouse, argo.client, how);
      assert.equal(callback.searchParams.get('error'), 'invalid_scope');
    });
  });

  describe('for Grafana', () => {
    let grafana: DocumentedApplication;
    let logIn: (person: Person) => Promise<ToldClaims>;
    /** Grafana takes a value from the ID token, and from userinfo if there is none or the path fails. */
    let read: (path: string, told: ToldClaims) => JSONValue;
    before(async () => {
      grafana = await DocumentedApplication.register(admin, 'Grafana');
      const [scopes = ''] = grafana.setting(/^scopes = (.*)$/m);
      logIn = (person) => grafana.logIn(person, scopes.split(' '), grafana.clientInDocument.redirect_uris[0]!);
      read = (name, { idToken, userinfo }) => {
        const [path = ''] = grafana.setting(new RegExp(`^${name} = (.*)$`, 'm'));
        return valueAt(path, idToken) ?? valueAt(path, userinfo) ?? null;
      };
    });

    it('name the endpoints that discovery names', async () => {
      const { authorization_endpoint, token_endpoint, userinfo_endpoint } = await grafana.discovered();
      assert.deepEqual(
        [grafana.url(/^auth_url = (.*)$/m), grafana.url(/^token_url = (.*)$/m), grafana.url(/^api_url = (.*)$/m)],
        [authorization_endpoint, token_endpoint, userinfo_endpoint],
      );
    });

    it('give it the address, the name and the groups by their paths, and a refresh token', async () => {
      const told = await logIn(ada);
      assertTold(grafana, told);
      for (const name of ['email_attribute_path', 'login_attribute_path'])
        assert.equal(read(name, told), gatehouse.account.email);
      assert.equal(read('name_attribute_path', told), NAME);
      assert.deepEqual(read('groups_attribute_path', told), GROUPS);
      assert.match(grafana.settings, /^use_refresh_token = true$/m);
      assert.deepEqual((await grafana.refresh(told.refreshToken))['groups'], GROUPS);
    });

    it('give a person the role of the strongest group, also at userinfo alone', async () => {
      const role = (told: ToldClaims) => read('role_attribute_path', told);
      const asAdmin = await logIn(ada);
      const [path = ''] = grafana.setting(/^role_attribute_path = (.*)$/m);
      assert.deepEqual([role(asAdmin), valueAt(path, asAdmin.userinfo)], ['Admin', 'Admin']);
      assert.equal(role(await logIn(stranger)), 'Viewer');
      const adaId = await demoAccountId(admin);
      await admin.delete(`/groups/${groupIds['Platform']}/members/${adaId}`);
      assert.equal(role(await logIn(ada)), 'Editor');
      await addTo(admin, { groupId: groupIds['Platform']! }, adaId);
    });

    it('give a person with more than 200 groups the role by userinfo', async () => {
      const told = await logIn(joiner);
      assert.equal(told.idToken['groups_omitted'], true);
      const [path = ''] = grafana.setting(/^role_attribute_path = (.*)$/m);
      assert.equal(valueAt(path, told.idToken), undefined, 'the expression fails');
      assert.equal(read('role_attribute_path', told), 'Admin');
    });
  });

  describe('for Kubernetes', () => {
    let kubernetes: DocumentedApplication;
    let scopes: readonly string[];
    before(async () => {
      kubernetes = await DocumentedApplication.register(admin, 'Kubernetes');
      scopes = ['openid', ...Array.from(kubernetes.settings.matchAll(/--oidc-extra-scope=(\w+)/g), ([, one]) => one!)];
    });

    it('name the same claims and prefixes in the file as in the flags', () => {
      const file = kubernetes.setting(
        /username:\n +claim: (\w+)\n +prefix: ''\n +groups:\n +claim: (\w+)\n +prefix: '(.*)'/,
      );
      const flags = kubernetes.setting(
        /--oidc-username-claim=(\w+)\n--oidc-username-prefix=-\n--oidc-groups-claim=(\w+)\n--oidc-groups-prefix=(.*)\n/,
      );
      assert.deepEqual(flags, file);
      assert.deepEqual(kubernetes.claims, ['email', 'email_verified', 'groups']);
      const [prefix, group] = kubernetes.setting(/--group=(\w+:)(\w+)`/);
      assert.equal(prefix, file[2]);
      assert.ok(GROUPS.includes(group!));
    });

    it('give it the claims in the ID token on both ports of kubelogin, and by a refresh', async () => {
      for (const redirect_uri of kubernetes.clientInDocument.redirect_uris) {
        const told = await kubernetes.logIn(ada, scopes, redirect_uri);
        assertTold(kubernetes, told);
        const refreshed = await kubernetes.refresh(told.refreshToken);
        assert.deepEqual([refreshed['email_verified'], refreshed['groups']], [true, GROUPS]);
      }
    });

    it('let it find keys, algorithms and PKCE by discovery', async () => {
      const found = await kubernetes.discovered();
      assert.equal(found.issuer, gatehouse.issuer);
      assert.ok(URL.canParse(found.jwks_uri!));
      assert.ok(found.id_token_signing_alg_values_supported?.includes('RS256'));
      assert.ok(found.response_types_supported?.includes('code'));
      assert.ok(found.code_challenge_methods_supported?.includes('S256'), 'kubelogin uses PKCE if this is there');
    });

    it('let a person with more than 200 groups log in, without groups', async () => {
      const redirect_uri = kubernetes.clientInDocument.redirect_uris[0]!;
      const { idToken } = await kubernetes.logIn(joiner, scopes, redirect_uri);
      assert.deepEqual([idToken['groups'], idToken['groups_omitted']], [undefined, true]);
      assert.equal(typeof idToken['email'], 'string');
    });

    it('say rightly that an address may be unverified, which the claim tells', async () => {
      const redirect_uri = kubernetes.clientInDocument.redirect_uris[0]!;
      const { idToken } = await kubernetes.logIn(stranger, scopes, redirect_uri);
      assert.deepEqual([idToken['email_verified'], idToken['groups']], [false, []]);
    });
  });

  describe('for Vault', () => {
    let vault: DocumentedApplication;
    let scopes: readonly string[];
    let redirectUris: readonly string[];
    before(async () => {
      vault = await DocumentedApplication.register(admin, 'Vault');
      scopes = ['openid', ...vault.setting(/oidc_scopes=(\w+)/)];
      redirectUris = Array.from(vault.settings.matchAll(/allowed_redirect_uris=(\S+)/g), ([, uri]) => uri!);
    });

    it('allow the redirect URIs that the client has: of the pages and of the command line', () => {
      assert.deepEqual(redirectUris, vault.clientInDocument.redirect_uris);
      assert.deepEqual(
        vault.setting(/^ {2}user_claim=(\w+) .*groups_claim=(\w+) .*claim_mappings=(\w+)=/ms).toSorted(),
        vault.claims.toSorted(),
      );
    });

    it('give it the claims of its role', async () => {
      for (const redirectUri of redirectUris) assertTold(vault, await vault.logIn(ada, scopes, redirectUri));
    });

    it('give it the list of groups, which it needs, for a person with none and for one with more than 200', async () => {
      const groupsOf = async (person: Person): Promise<unknown> => {
        const { idToken, userinfo } = await vault.logIn(person, scopes, redirectUris[0]!);
        // Vault adds the claims of userinfo to those of the ID token
        return { ...idToken, ...userinfo }['groups'];
      };
      assert.deepEqual(await groupsOf(stranger), []);
      assert.equal(((await groupsOf(joiner)) as string[]).length, GROUPS.length + FURTHER_GROUPS);
    });
  });
});

/** The value at a path of JMESPath; `undefined` if there is none or the expression fails. */
function valueAt(path: string, claims: object): JSONValue | undefined {
  try {
    return search(claims as JSONValue, path) ?? undefined;
  } catch {
    return undefined;
  }
}
