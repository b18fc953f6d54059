import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { Admin, type Answer } from '../support/client/admin.ts';
import { addTo, makeRole, type HeldRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

/** How a call is tried on the account of an admin, with ids in place of these names. */
interface Trial {
  readonly body?: unknown;
  /** Whether the call lets its caller act as the account, or adds a right to it. */
  readonly leadsUp: boolean;
}

/**
 * Every call that touches an account. A new call that names an account in its path or body fails the test below until a
 * developer adds it here, and says whether it leads up.
 */
const TRIALS: Readonly<Record<string, Readonly<Record<string, Trial>>>> = {
  'POST /accounts': { 'a new account has no right': { body: { email: 'x{n}@example.com' }, leadsUp: false } },
  'GET /accounts/{account_id}': { shows: { leadsUp: false } },
  'PATCH /accounts/{account_id}': {
    'sets a password': { body: { password: 'a password of the caller’s' }, leadsUp: true },
    'sets an address': { body: { email: 'caller{n}@example.com' }, leadsUp: true },
    'vouches for an address': { body: { email_verified: true }, leadsUp: true },
    'sets a name': { body: { name: 'Another name' }, leadsUp: false },
  },
  'POST /accounts/{account_id}/disable': { disables: { leadsUp: false } },
  'POST /accounts/{account_id}/enable': { 'gives all rights back': { leadsUp: true } },
  'GET /accounts/{account_id}/sessions': { shows: { leadsUp: false } },
  'DELETE /accounts/{account_id}/sessions': { ends: { leadsUp: false } },
  'DELETE /accounts/{account_id}/sessions/{session_id}': { ends: { leadsUp: false } },
  'GET /accounts/{account_id}/links': { shows: { leadsUp: false } },
  'POST /accounts/{account_id}/links': { 'makes a link': { body: { kind: 'first_password' }, leadsUp: true } },
  'DELETE /accounts/{account_id}/links/{link_id}': { ends: { leadsUp: false } },
  'GET /accounts/{account_id}/factors': { shows: { leadsUp: false } },
  'DELETE /accounts/{account_id}/factors': { 'resets all factors': { leadsUp: true } },
  'DELETE /accounts/{account_id}/factors/{factor_id}': { 'removes one factor': { leadsUp: true } },
  'POST /accounts/{account_id}/enrolment-code': { 'gives a code': { leadsUp: true } },
  'POST /accounts/{account_id}/unlock': { 'ends the limits on guesses': { leadsUp: true } },
  'GET /accounts/{account_id}/grants': { shows: { leadsUp: false } },
  'DELETE /accounts/{account_id}/grants/{grant_id}': { ends: { leadsUp: false } },
  'GET /accounts/{account_id}/consents': { shows: { leadsUp: false } },
  'DELETE /accounts/{account_id}/consents/{client_id}': { ends: { leadsUp: false } },
  'GET /accounts/{account_id}/groups': { shows: { leadsUp: false } },
  'POST /subject-links': {
    links: { body: { issuer: '{issuer}', subject: 'subject{n}', account_id: '{account_id}' }, leadsUp: true },
  },
  'POST /groups/{group_id}/members': { 'adds to a group': { body: { account_id: '{account_id}' }, leadsUp: true } },
  'DELETE /groups/{group_id}/members/{account_id}': { removes: { leadsUp: false } },
  // these touch the accounts of all members of a group, and of all people with a role
  'PATCH /groups/{group_id}': {
    'adds a role': { body: { roles: ['{own_role}', '{harmless_role}'] }, leadsUp: true },
    'removes a role': { body: { roles: [] }, leadsUp: false },
  },
  'PATCH /roles/{name}': {
    'adds a scope': {
      body: { resources: [{ resource: '{api}', scopes: ['notes:read', 'notes:write'] }] },
      leadsUp: true,
    },
    describes: { body: { description: 'Other words' }, leadsUp: false },
  },
  'DELETE /accounts/{account_id}': { deletes: { leadsUp: false } },
};

const NEEDED = 'keys:read';

describe('an admin who lacks a right of an account', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let lesser: Admin;
  let harmless: HeldRole;
  const issuer = 'https://id.partner.example';
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    lesser = await admin.lesser(...gatehouse.admin.scope.split(' ').filter((scope) => scope !== NEEDED));
    harmless = await makeRole(admin, gatehouse.demo.resource, 'notes:write');
    const { publicKey } = await generateKeyPair('ES256');
    const trusted = await admin.post('/trusted-issuers', {
      issuer,
      display_name: 'Partner',
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'key' }] },
      algs: ['ES256'],
      purposes: ['jwt_bearer'],
    });
    assert.equal(trusted.status, 201, trusted.text);
  });
  after(() => gatehouse.stop());

  let tried = 0;
  /** An account that holds an admin role with a scope that the lesser admin lacks, and a role of an API. */
  const target = async () => {
    const email = `target${++tried}@example.com`;
    const accountId = (await admin.post('/accounts', { email })).body.account_id;
    const own = await makeRole(admin, gatehouse.admin.resource, NEEDED);
    const ofApi = await makeRole(admin, gatehouse.demo.resource, 'notes:read');
    await addTo(admin, own, accountId);
    await addTo(admin, ofApi, accountId);
    return { accountId, own, ofApi };
  };
  const attempt = async (by: Admin, call: string, { body }: Trial): Promise<Answer> => {
    const { accountId, own, ofApi } = await target();
    const [method = '', template = ''] = call.split(' ');
    const isMembership = call === 'POST /groups/{group_id}/members';
    const names: Readonly<Record<string, string>> = {
      account_id: accountId,
      group_id: isMembership ? harmless.groupId : own.groupId,
      name: ofApi.role,
      own_role: own.role,
      harmless_role: harmless.role,
      factor_id: 'recovery_codes',
      api: gatehouse.demo.resource,
      issuer,
      n: String(tried),
    };
    const fill = (text: string): string => text.replaceAll(/\{(\w+)\}/g, (_, name: string) => names[name] ?? 'x');
    if (template.endsWith('/{factor_id}')) await admin.post(`/accounts/${accountId}/enrolment-code`);
    if (template.endsWith('/enable')) await admin.post(`/accounts/${accountId}/disable`);
    return by.send(method, fill(template), body === undefined ? undefined : fill(JSON.stringify(body)));
  };

  it('is tried with every call of the API that touches an account', async () => {
    const document = (await admin.get('/openapi.json')).body as unknown as {
      paths: Record<string, Record<string, { requestBody?: object }>>;
      components: { schemas: Record<string, object> };
    };
    const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, { requestBody }]) => {
        const text = JSON.stringify(requestBody ?? {});
        const schemas = [...text.matchAll(/schemas\/(\w+)/g)].map(([, name = '']) => document.components.schemas[name]);
        const takesAccount = /"account_id"/.test(text + JSON.stringify(schemas));
        const isChangeOfRights = /^\/(groups|roles)\//.test(path) && method === 'patch';
        const touches = path.includes('{account_id}') || path === '/accounts' || takesAccount || isChangeOfRights;
        return touches && !(path === '/accounts' && method === 'get') ? [`${method.toUpperCase()} ${path}`] : [];
      }),
    );
    assert.deepEqual(calls.toSorted(), Object.keys(TRIALS).toSorted());
  });

  for (const [call, trials] of Object.entries(TRIALS)) {
    for (const [what, trial] of Object.entries(trials)) {
      const outcome = trial.leadsUp ? 'is refused' : 'is not refused for it';
      it(`${outcome}: ${call} ${what}`, async () => {
        const answer = await attempt(lesser, call, trial);
        if (!trial.leadsUp) return assert.notEqual(answer.status, 403, answer.text);
        assert.equal(answer.status, 403, answer.text);
        assert.match(answer.body.detail, /has admin scopes that your token does not carry: keys:read\.$/);
        const permitted = await attempt(admin, call, trial);
        assert.ok([200, 201, 204].includes(permitted.status), permitted.text);
      });
    }
  }

  it('can make no role or group with it, and leaves nothing behind', async () => {
    const resources = [{ resource: gatehouse.admin.resource, scopes: [NEEDED] }];
    const role = await lesser.post('/roles', { name: 'mine', description: 'Mine', resources });
    assert.equal(role.status, 403);
    assert.equal((await admin.get('/roles/mine')).status, 404);
    const { own } = await target();
    assert.equal((await lesser.post('/groups', { name: 'Mine', roles: [own.role] })).status, 403);
    assert.equal((await admin.get('/groups?q=Mine')).body.items.length, 0);
  });

  it('can add no account to a group that has it', async () => {
    const { own } = await target();
    const accountId = (await admin.post('/accounts', { email: 'friend@example.com' })).body.account_id;
    const answer = await lesser.post(`/groups/${own.groupId}/members`, { account_id: accountId });
    assert.equal(answer.status, 403);
    assert.equal((await admin.get(`/accounts/${accountId}/groups`)).body.items.length, 0);
  });
});
