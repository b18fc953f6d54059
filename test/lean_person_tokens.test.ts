import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { sha256 } from '../src/base/secret.ts';
import { Admin } from './support/admin.ts';
import { moveClock, resetClock } from './support/clock.ts';
import {
  basic,
  redeem,
  REDIRECT_URI,
  registerApplication,
  requestCode,
  type Callback,
  type SignIn,
} from './support/code_flow.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { registerResource, type RegisteredClient } from './support/operator.ts';
import { Person } from './support/person.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

type Form = Readonly<Record<string, string>>;

/** Of an ID token and the events about it nothing may differ but when they were made, and ids. */
const CHANGING = new Set(['date', 'x-request-id', 'dpop-nonce', 'content-length']);
const FOR_BROWSERS = /^(?:access-control-|content-security-policy|permissions-policy|referrer-policy|x-frame-options)/;
const EVERY_SCOPE = 'openid profile email address phone offline_access notes:read';
const QUICK = { id_token_signed_response_alg: 'ES256' };

/** The lean path must give what the ordinary one gives, store what it stores, and put on record what it does. */
describe('codes and refresh tokens on a lean path', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let application: RegisteredClient;
  let person: Person;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    application = await registerApplication(gatehouse, QUICK);
    person = new Person(gatehouse, { remember: true });
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

  const send = async (form: Form, { client_id, client_secret }: RegisteredClient, query: string): Promise<Answer> => {
    const response = await fetch(`${gatehouse.url}/token${query}`, {
      method: 'POST',
      headers: { authorization: basic(client_id, client_secret) },
      body: new URLSearchParams(form),
    });
    const kept = [...response.headers].filter(([name]) => !CHANGING.has(name) && !FOR_BROWSERS.test(name));
    const body = (await response.json()) as Answer['body'];
    return { status: response.status, headers: Object.fromEntries(kept), body };
  };
  const lean = (form: Form, client: RegisteredClient) => send(form, client, '');
  /** A query that means nothing keeps a request from the lean path. */
  const ordinary = (form: Form, client: RegisteredClient) => send(form, client, '?ordinary');
  const leanAnswers = async (): Promise<number> => {
    const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers (\d+)/m.exec(metrics)?.[1]);
  };
  const ofCode = ({ code, verifier }: Pick<Callback, 'code' | 'verifier'>): Form => ({
    grant_type: 'authorization_code',
    redirect_uri: REDIRECT_URI,
    code,
    code_verifier: verifier,
  });
  const ofRefresh = ({ body }: Answer): Form => ({
    grant_type: 'refresh_token',
    refresh_token: String(body['refresh_token']),
  });

  const claims = (token: unknown) => {
    if (typeof token !== 'string') return token;
    if (!token.includes('.')) return 'opaque';
    const { jti, iat, exp, gid, nonce, sid, auth_time, ...rest } = decodeJwt(token);
    const told = Object.entries({ jti, gid, nonce, sid, auth_time }).flatMap(([name, value]) => (value ? [name] : []));
    return { ...rest, told, ttl: exp! - iat!, header: decodeProtectedHeader(token) };
  };
  const rowOf = async (kind: string, id: unknown) => {
    if (typeof id !== 'string') return undefined;
    const row = await gatehouse.database
      .selectFrom('artifacts')
      .selectAll()
      .where('kind', '=', kind)
      .where('artifact_id', '=', sha256(id))
      .executeTakeFirst();
    if (!row) return 'gone';
    const { artifact_id: _, grant_id, created_at, expires_at, consumed_at, payload, ...rest } = row;
    const { iat, exp, iiat, grantId, sid, sessionUid, nonce, authTime, codeChallenge: __, ...members } = payload;
    const told = Object.entries({ grantId, sid, sessionUid, nonce, authTime, iiat }).map(
      ([name, value]) => value && name,
    );
    return {
      ...rest,
      members,
      told,
      consumed: consumed_at !== null,
      ofGrant: grant_id?.equals(sha256(String(grantId))),
      seconds: [Number(exp) - Number(iat), Math.round((expires_at.getTime() - created_at.getTime()) / 1000)],
    };
  };
  const lastEvents = async () => {
    const { request_id } = await gatehouse.database
      .selectFrom('audit_events')
      .select('request_id')
      .where('client_id', 'is not', null)
      .where('event', '!=', 'authorization.granted')
      .orderBy('occurred_at', 'desc')
      .orderBy('sequence', 'desc')
      .limit(1)
      .executeTakeFirstOrThrow();
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome', 'actor_type', 'actor_id', 'client_id', 'account_id', 'address', 'details'])
      .where('request_id', '=', request_id)
      .orderBy('event')
      .execute();
    return events.map(({ details: { jti, expires_at, grant_id, ...details }, ...event }) => {
      const told = Object.entries({ jti, expires_at, grant_id }).map(([name, value]) => value && name);
      return { ...event, details, told };
    });
  };
  /** Everything that can be seen of an answer and of what it has left behind. */
  const traces = async (form: Form, { status, headers, body }: Answer) => {
    const { access_token, id_token, refresh_token, ...members } = body;
    const kind = form['grant_type'] === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode';
    return {
      status,
      headers,
      members,
      order: Object.keys(body),
      accessToken: claims(access_token),
      idToken: claims(id_token),
      refreshToken: await rowOf('RefreshToken', refresh_token),
      used: await rowOf(kind, form['refresh_token'] ?? form['code']),
      events: await lastEvents(),
    };
  };

  interface Pair {
    readonly taken: boolean;
    readonly lean: Answer;
    readonly ordinary: Answer;
  }
  /** Sends one of two like requests down each way, and compares all that they leave. */
  const compare = async (
    [forLean, forOrdinary]: readonly [Form, Form],
    client: RegisteredClient,
    what: string,
  ): Promise<Pair> => {
    const earlier = await leanAnswers();
    const first = await lean(forLean, client);
    const left = await traces(forLean, first);
    const taken = (await leanAnswers()) - earlier === 1;
    const second = await ordinary(forOrdinary, client);
    assert.equal((await leanAnswers()) - earlier, taken ? 1 : 0, what);
    assert.deepEqual(left, await traces(forOrdinary, second), what);
    assert.equal(first.status < 500, true, what);
    return { taken, lean: first, ordinary: second };
  };
  /** Two codes that differ in nothing, of one grant unless two people are told to log in. */
  const codes = async (
    client: RegisteredClient,
    how: SignIn = {},
    people: readonly Person[] = [person, person],
  ): Promise<[Form, Form]> => {
    const code = async (whose: Person) =>
      ofCode(await requestCode(gatehouse, client, { scope: 'openid notes:read', ...how, person: whose }));
    return [await code(people[0]!), await code(people[1]!)];
  };
  const refreshes = async (...how: Parameters<typeof codes>): Promise<[Form, Form]> => {
    const [one, other] = await codes(...how);
    return [ofRefresh(await ordinary(one, how[0])), ofRefresh(await ordinary(other, how[0]))];
  };
  const apart = () => [new Person(gatehouse), new Person(gatehouse)];
  const changed = ([one, other]: readonly [Form, Form], change: Form): [Form, Form] => [
    { ...one, ...change },
    { ...other, ...change },
  ];

  it('takes what an application sends: a code, then one refresh token after the other', async () => {
    const pair = await compare(await codes(application, { scope: EVERY_SCOPE }), application, 'code');
    assert.equal(pair.taken, true);
    assert.equal(pair.lean.status, 200);
    const again = await compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], application, 'refresh');
    assert.equal(again.taken, true);
    // each goes on with what the other path has made
    const crossed = await compare([ofRefresh(again.ordinary), ofRefresh(again.lean)], application, 'crossed');
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
    await codes(application, { scope: `${EVERY_SCOPE} notes:write`, parameters: { prompt: 'consent' } });
    const pair = await compare(await codes(application), application, 'code');
    assert.deepEqual([pair.taken, pair.lean.body['scope']], [true, 'notes:read']);
    assert.equal('email' in decodeJwt(String(pair.lean.body['id_token'])), false);
    assert.equal((await compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], application, 'refresh')).taken, true);
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
      const { taken, ...pair } = await compare(await codes(client, how), client, `${name}, code`);
      assert.equal(taken, isLean, name);
      if (pair.lean.body['refresh_token'] === undefined) continue;
      const refresh = await compare([ofRefresh(pair.lean), ofRefresh(pair.ordinary)], client, `${name}, refresh`);
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
      const pair = await codes(application);
      await compare(changed(pair, change), application, name);
      if (name === 'more' || name === 'scope' || name === 'code') continue;
      assert.equal((await lean(pair[0], application)).status, 200, `${name}: the code is still good`);
    }
    const theirs = await codes(application);
    await compare(theirs, other, 'of another client');
    await compare(theirs, { ...application, client_secret: other.client_secret }, 'with a wrong secret');
    assert.equal((await lean(theirs[0], application)).status, 200);
    for (const change of [
      { refresh_token: 'nothing' },
      { refresh_token: '' },
      { scope: 'notes:read' },
      { scope: 'notes:write' },
      { resource: gatehouse.demo.resource },
      { resource: 'https://other.example.com' },
    ] as Form[])
      await compare(changed(await refreshes(application), change), application, JSON.stringify(change));
    await compare(await refreshes(application), other, 'refresh token of another client');
  });

  it('ends the family of a code that comes again, whichever way it came first', async () => {
    for (const first of [lean, ordinary]) {
      const [one, other] = await codes(application, {}, apart());
      const family = [await first(one, application), await first(other, application)] as const;
      const again = await compare([one, other], application, 'again');
      assert.equal(again.taken, false);
      assert.equal(again.lean.body['error'], 'invalid_grant');
      const dead = await compare([ofRefresh(family[0]), ofRefresh(family[1])], application, 'its family');
      assert.equal(dead.lean.body['error'], 'invalid_grant');
    }
  });

  it('knows a lost answer from a stolen refresh token as the ordinary path does', async () => {
    const [one, other] = await refreshes(application, {}, apart());
    assert.equal((await compare([one, other], application, 'first')).taken, true);
    const graceful = await compare([one, other], application, 'within the grace');
    assert.deepEqual([graceful.taken, graceful.lean.status], [false, 200]);
    moveClock(11);
    const stolen = await compare([one, other], application, 'after it');
    assert.equal(stolen.lean.body['error'], 'invalid_grant');
  });

  it('lets one of many at once have the code', async () => {
    const [form] = await codes(application, {}, apart());
    const answers = await Promise.all(Array.from({ length: 12 }, () => lean(form, application)));
    assert.equal(answers.filter(({ status }) => status === 200).length <= 1, true);
    assert.deepEqual(new Set(answers.map(({ status }) => status)).has(500), false);
    const [winner] = answers.filter(({ status }) => status === 200);
    // the others have ended the family: what was given dies with it
    if (winner) assert.equal((await lean(ofRefresh(winner), application)).body['error'], 'invalid_grant');
  });

  it('answers for what has ended meanwhile as the ordinary path does', async () => {
    const expired = await codes(application);
    moveClock(61);
    assert.equal((await compare(expired, application, 'expired code')).lean.body['error'], 'invalid_grant');
    resetClock();
    const old = await refreshes(application);
    moveClock(1_209_601);
    assert.equal((await compare(old, application, 'expired refresh token')).lean.body['error'], 'invalid_grant');
    resetClock();
    const offline = { scope: 'openid offline_access notes:read', parameters: { prompt: 'consent' } };
    const bound = await refreshes(application, {}, apart());
    const lasting = await refreshes(application, offline, apart());
    await gatehouse.database.deleteFrom('artifacts').where('kind', '=', 'Session').execute();
    assert.equal((await compare(bound, application, 'without its session')).lean.body['error'], 'invalid_grant');
    const { taken, lean: answer } = await compare(lasting, application, 'that needs no session');
    assert.deepEqual([taken, answer.status], [true, 200]);
  });

  it('gives no more than client, API and account have left', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const scope = 'openid notes:read notes:write';
    const pair = await refreshes(client, { scope });
    const { resource } = gatehouse.demo;
    await admin.patch(`/clients/${client.client_id}`, { resources: [{ resource, scopes: ['notes:read'] }] });
    const narrowed = await compare(pair, client, 'a scope less');
    assert.deepEqual([narrowed.taken, narrowed.lean.body['scope']], [true, 'notes:read']);
    await admin.patch(`/clients/${client.client_id}`, { resources: [] });
    const nothing = [ofRefresh(narrowed.lean), ofRefresh(narrowed.ordinary)] as const;
    assert.equal((await compare(nothing, client, 'no API')).lean.body['error'], 'invalid_target');
    const disabled = await refreshes(application, {}, apart());
    await admin.post(`/accounts/${accountId}/disable`);
    const gone = await compare(disabled, application, 'disabled account');
    assert.deepEqual([gone.taken, gone.lean.body['error']], [false, 'invalid_grant']);
    await admin.post(`/accounts/${accountId}/enable`);
    const revoked = await refreshes(application, {}, apart());
    await admin.post(`/clients/${application.client_id}/revoke`, { reason: 'A test' });
    assert.equal((await compare(revoked, application, 'revoked client')).lean.body['error'], 'invalid_client');
    assert.equal((await redeem(gatehouse.url, application, { code: 'x', verifier: 'x' })).status, 401);
  });
});
