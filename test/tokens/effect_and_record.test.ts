import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import pg from 'pg';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { ask, decide, openPage, pageOf, registerTill, type Asked } from '../support/client/backchannel.ts';
import { basic, REDIRECT_URI, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { connectDevice, enterCode, fieldsOf, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import { Person } from '../support/person/person.ts';
import { JWT, JWT_BEARER, makePolicy, TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';
import { CIBA, DEVICE_CODE } from '../../src/clients/metadata/flows.ts';

/** A request that can be sent again as it is, what its answer looks like, and what is then on record. */
interface Repeatable {
  readonly send: () => Promise<Response>;
  readonly status: number;
  readonly event: string;
  /** The client whose events are searched; without it, the events of all clients. */
  readonly clientId?: string;
}

/** Rows that the requests below change. Counters of polls and attempts are none of them. */
const STORED = {
  artifacts: 'kind, artifact_id, grant_id, payload, consumed_at, expires_at',
  grants: 'grant_id, payload, expires_at',
  consents: 'account_id, client_id, scopes',
  device_codes: 'device_code, status, grant_id, payload, consumed_at',
  backchannel_requests: 'auth_req_id, status, grant_id, payload, consumed_at',
  used_once: 'purpose, digest',
  outbox: 'message_id, kind',
  audit_events: 'stream, sequence, event',
} as const;

describe('a request whose record can not be written', () => {
  let gatehouse: Gatehouse;
  const prepared = new Map<string, Repeatable>();
  before(async () => {
    gatehouse = await startGatehouse();
    for (const [name, prepare] of Object.entries(REQUESTS)) prepared.set(name, await prepare(gatehouse));
  });
  after(() => gatehouse.stop());

  it('is answered with 503 and changes nothing (FIELD-A1, FIELD-A2)', async () => {
    const earlier = await stored(gatehouse);
    const operator = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await operator.connect();
    await operator.query('begin');
    await operator.query('lock table audit_events in access exclusive mode');
    const answers = await Promise.all([...prepared].map(async ([name, { send }]) => ({ name, answer: await send() })));
    await operator.query('rollback');
    await operator.end();
    for (const { name, answer } of answers) {
      assert.equal(answer.status, 503, `${name}: ${await answer.text()}`);
      assert.ok(Number(answer.headers.get('retry-after')) >= 1, name);
      assert.equal(answer.headers.get('location'), null, name);
    }
    assert.deepEqual(await stored(gatehouse), earlier);
  });

  for (const name of Object.keys(requests())) {
    it(`can be sent again as it was: ${name} (FIELD-A2)`, async () => {
      const { send, status, event, clientId } = prepared.get(name)!;
      const earlier = await count(gatehouse, event, clientId);
      const answer = await send();
      assert.equal(answer.status, status, await answer.text());
      assert.equal(await count(gatehouse, event, clientId), earlier + 1, event);
    });
  }

  it('is not taken for one that came twice', async () => {
    const { rows } = await sql<{ event: string }>`select event from audit_events
      where event like '%.reused' or event like '%.replayed'`.execute(gatehouse.database);
    assert.deepEqual(rows, []);
  });
});

async function stored({ database }: Gatehouse): Promise<unknown> {
  const tables = Object.entries(STORED).map(async ([table, columns]) => {
    const { rows } = await sql<{ row: string }>`select to_jsonb(r)::text as row
      from (select ${sql.raw(columns)} from ${sql.table(table)}) r`.execute(database);
    return [table, rows.map(({ row }) => row).toSorted()];
  });
  return Object.fromEntries(await Promise.all(tables)) as unknown;
}

async function count({ database }: Gatehouse, event: string, clientId: string | undefined): Promise<number> {
  let query = database.selectFrom('audit_events').select('request_id').where('event', '=', event);
  if (clientId !== undefined) query = query.where('client_id', '=', clientId);
  return (await query.execute()).length;
}

/** Keeps a request from the fast path. */
const ORDINARY = '?ordinary';

function token(
  { url }: Gatehouse,
  { client_id, client_secret }: RegisteredClient,
  form: Readonly<Record<string, string>>,
  { query = '', headers = {} }: { query?: string; headers?: Readonly<Record<string, string>> } = {},
): Repeatable {
  const authentication: Record<string, string> =
    client_secret === '' ? {} : { authorization: basic(client_id, client_secret) };
  const body = new URLSearchParams({ ...(client_secret === '' && { client_id }), ...form });
  return {
    send: () => fetch(`${url}/token${query}`, { method: 'POST', headers: { ...authentication, ...headers }, body }),
    status: 200,
    event: 'token.issued',
    clientId: client_id,
  };
}

async function code(gatehouse: Gatehouse, query: string): Promise<Repeatable> {
  const client = await registerApplication(gatehouse);
  const { code: value, verifier } = await requestCode(gatehouse, client, { scope: 'openid notes:read' });
  return token(gatehouse, client, codeForm(value, verifier), { query });
}

function codeForm(value: string, code_verifier: string): Record<string, string> {
  return { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code: value, code_verifier };
}

async function refresh(gatehouse: Gatehouse, query: string): Promise<Repeatable> {
  const client = await registerApplication(gatehouse);
  const { tokens } = await signIn(gatehouse, client, { scope: 'openid notes:read' });
  return token(gatehouse, client, { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! }, { query });
}

/** A person at the page of a step, and the form that they are about to send. */
async function atStep(gatehouse: Gatehouse, step: 'login' | 'consent') {
  const client = await registerApplication(gatehouse);
  const person = new Person(gatehouse);
  let arrival = await person.open(`${gatehouse.url}/authorize?${authorizationRequest(client)}`);
  if (step === 'consent') arrival = await person.submit(`${arrival.url}/login`, gatehouse.account);
  const fields = step === 'login' ? gatehouse.account : { decision: 'allow', remember: 'on' };
  const send = () =>
    person.fetch(`${arrival.url}/${step}`, { method: 'POST', body: new URLSearchParams({ ...fields }) });
  return { send, status: 303, clientId: client.client_id };
}

type Prepare = (gatehouse: Gatehouse) => Promise<Repeatable>;

const REQUESTS: Readonly<Record<string, Prepare>> = requests();

function requests(): Readonly<Record<string, Prepare>> {
  return {
    'a code on the fast path': (gatehouse) => code(gatehouse, ''),
    'a code on the ordinary path': (gatehouse) => code(gatehouse, ORDINARY),
    'a refresh on the fast path': (gatehouse) => refresh(gatehouse, ''),
    'a refresh on the ordinary path': (gatehouse) => refresh(gatehouse, ORDINARY),
    async 'a code with a DPoP proof'(gatehouse) {
      const client = await registerApplication(gatehouse, { dpop_bound_access_tokens: true });
      const { code: value, verifier } = await requestCode(gatehouse, client, { scope: 'openid notes:read' });
      const DPoP = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/token`]);
      return token(gatehouse, client, codeForm(value, verifier), { headers: { DPoP } });
    },
    async 'a device’s poll'(gatehouse) {
      const client = await registerDevice(gatehouse);
      const { device_code, user_code } = await requestDevice(gatehouse, client);
      await connectDevice(gatehouse, user_code);
      return token(gatehouse, client, { grant_type: DEVICE_CODE, device_code });
    },
    async 'a poll for a backchannel request'(gatehouse) {
      const client = await registerTill(gatehouse);
      const { auth_req_id } = await approved(gatehouse, client);
      return token(gatehouse, client, { grant_type: CIBA, auth_req_id });
    },
    async 'a token exchange for a person of another issuer'(gatehouse) {
      const { client, issuer } = await exchanger(gatehouse, TOKEN_EXCHANGE);
      const form = {
        subject_token: await issuer.assert(),
        subject_token_type: JWT,
      };
      return token(gatehouse, client, { grant_type: TOKEN_EXCHANGE, ...form });
    },
    async 'an assertion of another issuer'(gatehouse) {
      const { client, issuer } = await exchanger(gatehouse, JWT_BEARER);
      return token(gatehouse, client, { grant_type: JWT_BEARER, assertion: await issuer.assert() });
    },
    async 'an authorization request of a person who is logged in'(gatehouse) {
      const client = await registerApplication(gatehouse);
      const { person } = await signIn(gatehouse, client);
      const url = `${gatehouse.url}/authorize?${authorizationRequest(client)}`;
      return {
        send: () => person.fetch(url),
        status: 303,
        event: 'authorization.granted',
        clientId: client.client_id,
      };
    },
    'a login': async (gatehouse) => ({ ...(await atStep(gatehouse, 'login')), event: 'login.succeeded' }),
    'a consent': async (gatehouse) => ({ ...(await atStep(gatehouse, 'consent')), event: 'consent.given' }),
    async 'a logout'(gatehouse) {
      const { person } = await signIn(gatehouse, await registerApplication(gatehouse));
      const { page } = await person.open(`${gatehouse.url}/logout`);
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)![1]!;
      const fields = new URLSearchParams({ xsrf, logout: 'yes' });
      return {
        send: () => person.fetch(`${gatehouse.url}/logout/confirm`, { method: 'POST', body: fields }),
        status: 303,
        event: 'logout.completed',
      };
    },
    async 'a pushed request'(gatehouse) {
      const client = await registerApplication(gatehouse);
      return {
        ...pushed(gatehouse, '/par', client, Object.fromEntries(authorizationRequest(client))),
        status: 201,
        event: 'authorization_request.pushed',
      };
    },
    async 'a device’s request'(gatehouse) {
      const client = await registerDevice(gatehouse);
      return { ...pushed(gatehouse, '/device_authorization', client, { scope: 'openid' }), event: 'device.requested' };
    },
    async 'a backchannel request'(gatehouse) {
      const client = await registerTill(gatehouse);
      const form = { scope: 'openid', login_hint: gatehouse.account.email };
      return {
        ...pushed(gatehouse, '/backchannel_authentication', client, form),
        event: 'backchannel_authentication.requested',
      };
    },
    async 'the approval of a backchannel request'(gatehouse) {
      const client = await registerTill(gatehouse);
      const page = pageOf(gatehouse, await ask(gatehouse, client));
      const person = new Person(gatehouse);
      const shown = await openPage(page, person);
      const fields = new URLSearchParams({ ...fieldsOf(shown.page), decision: 'approve' });
      return {
        send: () => person.fetch(page, { method: 'POST', body: fields }),
        status: 303,
        event: 'backchannel_authentication.approved',
        clientId: client.client_id,
      };
    },
    async 'the confirmation of a device'(gatehouse) {
      const client = await registerDevice(gatehouse);
      const { person } = await signIn(gatehouse, await registerApplication(gatehouse));
      const { user_code } = await requestDevice(gatehouse, client);
      const { url } = await enterCode(gatehouse, person, user_code);
      const body = new URLSearchParams({ decision: 'allow' });
      const allowed = await person.fetch(`${url}/consent`, { method: 'POST', body });
      const last = new URL(allowed.headers.get('location')!, url);
      return {
        send: () => person.fetch(last),
        status: 200,
        event: 'device.confirmed',
        clientId: client.client_id,
      };
    },
  };
}

function pushed(
  { url }: Gatehouse,
  path: string,
  { client_id, client_secret }: RegisteredClient,
  form: Readonly<Record<string, string>>,
) {
  const authorization = client_secret === '' ? undefined : basic(client_id, client_secret);
  const body = new URLSearchParams({ client_id, ...form });
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  return { send: () => fetch(url + path, { method: 'POST', headers, body }), status: 200, clientId: client_id };
}

async function approved(gatehouse: Gatehouse, client: RegisteredClient): Promise<Asked> {
  const asked = await ask(gatehouse, client);
  await decide(gatehouse, asked, 'approve');
  return asked;
}

/** A client that may trade assertions about the demo person for tokens of an API. */
async function exchanger(gatehouse: Gatehouse, grant: string) {
  const admin = await Admin.of(gatehouse);
  const issuer = await makeIssuer(gatehouse.issuer);
  await trust(admin, issuer);
  const name = grant === JWT_BEARER ? 'reports' : 'orders';
  const { resource, scopes } = await registerResource(gatehouse, name);
  const client = await registerClient(gatehouse, { grant_types: [grant], resources: [] });
  const account = await gatehouse.database.selectFrom('accounts').select('account_id').executeTakeFirstOrThrow();
  const linked = await admin.post('/subject-links', {
    issuer: issuer.issuer,
    subject: 'user-7',
    account_id: account.account_id,
  });
  assert.equal(linked.status, 201, linked.text);
  const noun = grant === JWT_BEARER ? 'assertion-policies' : 'exchange-policies';
  await makePolicy(admin, noun, {
    client_id: client.client_id,
    ...(grant === JWT_BEARER ? { issuer: issuer.issuer } : { subject_issuer: issuer.issuer, mode: 'impersonation' }),
    subject_account: 'linked',
    resource,
    scopes: grant === JWT_BEARER ? [scopes[0]] : [{ scope: scopes[0] }],
  });
  return { client, issuer };
}
