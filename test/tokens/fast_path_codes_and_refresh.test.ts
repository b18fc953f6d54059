import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sha256 } from '../../src/base/secret.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths, changed, ofRefresh, type Form } from '../support/client/both_paths.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { redeem, registerApplication, type SignIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource, type RegisteredClient } from '../support/node/operator.ts';

const EVERY_SCOPE = 'openid profile email address phone offline_access notes:read';
const QUICK = { id_token_signed_response_alg: 'ES256' };

/** The fast path must answer, store and record in the audit trail as the ordinary path does. */
describe('codes and refresh tokens on the fast path', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let application: RegisteredClient;
  let both: BothPaths;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    application = await registerApplication(gatehouse, QUICK);
    both = new BothPaths(gatehouse);
    accountId = (await admin.get('/accounts')).body.items[0]!.account_id;
    await admin.patch(`/accounts/${accountId}`, {
      name: 'Ada Lovelace',
      given_name: 'Ada',
      phone_number: '+441234567890',
      address: { country: 'GB', locality: 'London' },
    });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('takes what an application sends: a code, then one refresh token after the other', async () => {
    const pair = await both.compare(await both.codes(application, { scope: EVERY_SCOPE }), application, 'code');
    assert.equal(pair.taken, true);
    assert.equal(pair.lean.status, 200);
    const again = await both.compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], application, 'refresh');
    assert.equal(again.taken, true);
    // each path continues with the token that the other path made
    const crossed = await both.compare([ofRefresh(again.ordinary), ofRefresh(again.lean)], application, 'crossed');
    assert.equal(crossed.taken, true);
    const { rotations, gty } = (await gatehouse.database
      .selectFrom('artifacts')
      .select('payload')
      .where('artifact_id', '=', sha256(String(crossed.lean.body['refresh_token'])))
      .executeTakeFirstOrThrow()
      .then(({ payload }) => payload)) as { rotations: number; gty: string };
    assert.deepEqual([rotations, gty], [2, 'authorization_code refresh_token']);
  });

  it('gives what was asked for of a grant that has more', async () => {
    await both.codes(application, { scope: `${EVERY_SCOPE} notes:write`, parameters: { prompt: 'consent' } });
    const pair = await both.compare(await both.codes(application), application, 'code');
    assert.deepEqual([pair.taken, pair.lean.body['scope']], [true, 'openid notes:read']);
    assert.equal('email' in decodeJwt(String(pair.lean.body['id_token'])), false);
    assert.equal(
      (await both.compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], application, 'refresh')).taken,
      true,
    );
  });

  it('answers every kind of client as the ordinary path does', async () => {
    const files = await registerResource(gatehouse, 'files', { access_token_ttl_seconds: 77 });
    const notes = { resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') };
    // the first that names an algorithm makes its key
    const made = async (signing_alg: string) => {
      const identifier = `https://${signing_alg.toLowerCase()}.example.com`;
      const scopes = [{ name: `${signing_alg}:read`, description: 'Read' }];
      assert.equal((await admin.post('/resources', { identifier, scopes, signing_alg })).status, 201);
      return { resource: identifier, scopes: scopes.map(({ name }) => name) };
    };
    await made('Ed25519');
    const slow = await made('PS256');
    const kinds: [string, object, SignIn, boolean][] = [
      ['of the usual kind', {}, {}, true],
      ['with PS256', { id_token_signed_response_alg: 'PS256' }, {}, false],
      ['with Ed25519', { id_token_signed_response_alg: 'Ed25519' }, {}, true],
      ['without refresh tokens', { ...QUICK, grant_types: ['authorization_code'] }, {}, true],
      ['with pairwise subjects', { ...QUICK, subject_type: 'pairwise' }, {}, true],
      ['of no person', QUICK, { scope: 'notes:read' }, true],
      ['of no API', QUICK, { scope: 'openid email' }, false],
      ['of another API', { ...QUICK, resources: [files] }, { scope: 'openid files:read files:write' }, true],
      ['of a slow API', { ...QUICK, resources: [slow] }, { scope: 'openid PS256:read' }, false],
      ['of one API of two', { ...QUICK, resources: [notes, files] }, { scope: 'openid files:read' }, true],
      ['bound to a key', { ...QUICK, dpop_bound_access_tokens: true }, {}, false],
      ['that asks for claims', QUICK, { parameters: { claims: '{"id_token":{"email":null}}' } }, false],
      ['that asks for a context', QUICK, { parameters: { acr_values: 'urn:gatehouse:acr:password' } }, false],
    ];
    for (const [name, metadata, how, isLean] of kinds) {
      const client = await registerApplication(gatehouse, metadata as Record<string, unknown>);
      const { taken, ...pair } = await both.compare(await both.codes(client, how), client, `${name}, code`);
      assert.equal(taken, isLean, name);
      if (pair.lean.body['refresh_token'] === undefined) continue;
      const refresh = await both.compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], client, `${name}, refresh`);
      assert.equal(refresh.taken, isLean, name);
    }
  });

  it('refuses what is wrong as the ordinary path does, and uses nothing up for it', async () => {
    const other = await registerApplication(gatehouse, QUICK);
    const wrong: [string, Form][] = [
      ['verifier', { code_verifier: 'x'.repeat(43) }],
      ['short verifier', { code_verifier: 'x' }],
      ['redirect URI', { redirect_uri: 'https://app.example.com/other' }],
      ['code', { code: 'nothing' }],
      ['more', { unknown: '1' }],
      ['empty', { code_verifier: '' }],
      ['scope', { scope: 'openid' }],
      ['client', { client_id: 'nobody' }],
    ];
    for (const [name, change] of wrong) {
      const pair = await both.codes(application);
      await both.compare(changed(pair, change), application, name);
      if (name === 'more' || name === 'scope' || name === 'code') continue;
      assert.equal((await both.lean(pair[0], application)).status, 200, `${name}: the code is still good`);
    }
    const theirs = await both.codes(application);
    await both.compare(theirs, other, 'of another client');
    await both.compare(theirs, { ...application, client_secret: other.client_secret }, 'with a wrong secret');
    assert.equal((await both.lean(theirs[0], application)).status, 200);
    for (const change of [
      { refresh_token: 'nothing' },
      { refresh_token: '' },
      { scope: 'notes:read' },
      { scope: 'notes:write' },
      { resource: gatehouse.demo.resource },
      { resource: 'https://other.example.com' },
    ] as Form[])
      await both.compare(changed(await both.refreshes(application), change), application, JSON.stringify(change));
    await both.compare(await both.refreshes(application), other, 'refresh token of another client');
  });

  it('ends the family of a code that is used again, on either path', async () => {
    for (const first of ['lean', 'ordinary'] as const) {
      const [one, other] = await both.codes(application, {}, both.apart());
      const family = [await both[first](one, application), await both[first](other, application)] as const;
      const again = await both.compare([one, other], application, 'again');
      assert.equal(again.taken, false);
      assert.equal(again.lean.body['error'], 'invalid_grant');
      const dead = await both.compare([ofRefresh(family[0]), ofRefresh(family[1])], application, 'its family');
      assert.equal(dead.lean.body['error'], 'invalid_grant');
    }
  });

  it('knows a lost answer from a stolen refresh token as the ordinary path does', async () => {
    const [one, other] = await both.refreshes(application, {}, both.apart());
    assert.equal((await both.compare([one, other], application, 'first')).taken, true);
    const graceful = await both.compare([one, other], application, 'within the grace');
    assert.deepEqual([graceful.taken, graceful.lean.status], [false, 200]);
    moveClock(11);
    const stolen = await both.compare([one, other], application, 'after it');
    assert.equal(stolen.lean.body['error'], 'invalid_grant');
  });

  it('lets one of many at once have the code', async () => {
    const [form] = await both.codes(application, {}, both.apart());
    const answers = await Promise.all(Array.from({ length: 12 }, () => both.lean(form, application)));
    assert.equal(answers.filter(({ status }) => status === 200).length <= 1, true);
    assert.deepEqual(new Set(answers.map(({ status }) => status)).has(500), false);
    const [winner] = answers.filter(({ status }) => status === 200);
    // the others have ended the family: what was given dies with it
    if (winner) assert.equal((await both.lean(ofRefresh(winner), application)).body['error'], 'invalid_grant');
  });

  it('answers for what has ended since then as the ordinary path does', async () => {
    const expired = await both.codes(application);
    moveClock(61);
    assert.equal((await both.compare(expired, application, 'expired code')).lean.body['error'], 'invalid_grant');
    resetClock();
    const old = await both.refreshes(application);
    moveClock(1_209_601);
    assert.equal((await both.compare(old, application, 'expired refresh token')).lean.body['error'], 'invalid_grant');
    resetClock();
    const offline = { scope: 'openid offline_access notes:read', parameters: { prompt: 'consent' } };
    const bound = await both.refreshes(application, {}, both.apart());
    const lasting = await both.refreshes(application, offline, both.apart());
    await gatehouse.database.deleteFrom('artifacts').where('kind', '=', 'Session').execute();
    assert.equal((await both.compare(bound, application, 'without its session')).lean.body['error'], 'invalid_grant');
    const { taken, lean: answer } = await both.compare(lasting, application, 'that needs no session');
    assert.deepEqual([taken, answer.status], [true, 200]);
  });

  it('gives no more than client, API and account have left', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const scope = 'openid notes:read notes:write';
    const pair = await both.refreshes(client, { scope });
    const { resource } = gatehouse.demo;
    await admin.patch(`/clients/${client.client_id}`, { resources: [{ resource, scopes: ['notes:read'] }] });
    const narrowed = await both.compare(pair, client, 'a scope less');
    assert.deepEqual([narrowed.taken, narrowed.lean.body['scope']], [true, 'openid notes:read']);
    await admin.patch(`/clients/${client.client_id}`, { resources: [] });
    const nothing = [ofRefresh(narrowed.lean), ofRefresh(narrowed.ordinary)] as const;
    assert.equal((await both.compare(nothing, client, 'no API')).lean.body['error'], 'invalid_target');
    const disabled = await both.refreshes(application, {}, both.apart());
    await admin.post(`/accounts/${accountId}/disable`);
    const gone = await both.compare(disabled, application, 'disabled account');
    assert.deepEqual([gone.taken, gone.lean.body['error']], [false, 'invalid_grant']);
    await admin.post(`/accounts/${accountId}/enable`);
    const revoked = await both.refreshes(application, {}, both.apart());
    await admin.post(`/clients/${application.client_id}/revoke`, { reason: 'A test' });
    assert.equal((await both.compare(revoked, application, 'revoked client')).lean.body['error'], 'invalid_client');
    assert.equal((await redeem(gatehouse.url, application, { code: 'x', verifier: 'x' })).status, 401);
  });
});
