import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sql } from 'kysely';
import { Admin, type Body } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource } from '../support/node/operator.ts';

describe('the live tokens of a client', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const tokensOf = async (client: { client_id: string }): Promise<readonly Body[]> => {
    const { status, body, text } = await admin.get(`/clients/${client.client_id}/tokens`);
    assert.equal(status, 200, text);
    return body.items;
  };
  const jtis = async (client: { client_id: string }): Promise<Set<unknown>> =>
    new Set((await tokensOf(client)).map((token) => token['jti']));
  const jti = (token: string): string => decodeJwt(token).jti!;

  it('are those that were issued, each with what it is for', async () => {
    const client = await registerClient(gatehouse);
    assert.deepEqual(await tokensOf(client), []);
    const token = await requestToken(gatehouse.url, client, 'notes:read');
    const { exp, iat } = decodeJwt(token);
    const [item, ...more] = await tokensOf(client);
    assert.deepEqual(more, []);
    const { issued_at, ...rest } = item!;
    assert.deepEqual(rest, {
      jti: jti(token),
      resource: gatehouse.demo.resource,
      with_userinfo: false,
      scope: 'notes:read',
      grant_type: 'client_credentials',
      account_id: null,
      grant_id: null,
      jkt: null,
      expires_at: new Date(exp! * 1_000).toISOString(),
    });
    assert.ok(Math.abs(Date.parse(issued_at as string) - iat! * 1_000) < 5_000);
  });

  it('are without those that were revoked one by one', async () => {
    const client = await registerClient(gatehouse);
    const [one, other] = [await requestToken(gatehouse.url, client), await requestToken(gatehouse.url, client)];
    await postForm(`${gatehouse.url}/revoke`, { token: one }, client);
    assert.deepEqual(await jtis(client), new Set([jti(other)]));
  });

  it('are none when the client is revoked, and only new ones when it is restored', async () => {
    const client = await registerClient(gatehouse);
    await requestToken(gatehouse.url, client);
    await admin.post(`/clients/${client.client_id}/revoke`, { reason: 'Lost' });
    assert.deepEqual(await tokensOf(client), []);
    await admin.post(`/clients/${client.client_id}/restore`);
    assert.deepEqual(await tokensOf(client), []);
    const token = await requestToken(gatehouse.url, client);
    assert.deepEqual(await jtis(client), new Set([jti(token)]));
  });

  it('are without those whose time is over', async () => {
    const { resource, scopes } = await registerResource(gatehouse, 'brief', { access_token_ttl_seconds: 30 });
    const client = await registerClient(gatehouse, {
      resources: [
        { resource, scopes },
        { resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') },
      ],
    });
    const ask = async (of: string): Promise<string> => {
      const answer = await postForm(
        `${gatehouse.url}/token`,
        { grant_type: 'client_credentials', resource: of },
        client,
      );
      return ((await answer.json()) as { access_token: string }).access_token;
    };
    const [brief, long] = [await ask(resource), await ask(gatehouse.demo.resource)];
    assert.deepEqual(await jtis(client), new Set([jti(brief), jti(long)]));
    moveClock(31);
    assert.deepEqual(await jtis(client), new Set([jti(long)]));
  });

  it('of a person end with their grant', async () => {
    const application = await registerApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, application, { scope: 'notes:read' });
    const [token] = await tokensOf(application);
    assert.equal(token?.['jti'], jti(tokens.access_token));
    assert.equal(token['account_id'], decodeJwt(tokens.access_token).sub);
    assert.equal(token['grant_id'], decodeJwt(tokens.access_token)['gid']);
    await sql`delete from grants where client_id = ${application.client_id}`.execute(gatehouse.database);
    assert.deepEqual(await tokensOf(application), []);
  });

  it('are paged without gap or repetition', async () => {
    const client = await registerClient(gatehouse);
    for (let i = 0; i < 5; i++) await requestToken(gatehouse.url, client);
    const walked: unknown[] = [];
    let cursor = '';
    do {
      const { body } = await admin.get(`/clients/${client.client_id}/tokens?limit=2${cursor && `&cursor=${cursor}`}`);
      walked.push(...body.items.map((item) => item['jti']));
      cursor = body.next_cursor ?? '';
    } while (cursor);
    assert.equal(walked.length, 5);
    assert.deepEqual(new Set(walked), await jtis(client));
  });

  it('are shown only to admins who may see clients, and only of a client that exists', async () => {
    const lesser = await admin.lesser('audit:read');
    assert.equal((await lesser.get(`/clients/${gatehouse.demo.client_id}/tokens`)).status, 403);
    assert.equal((await admin.get('/clients/client_nobody/tokens')).status, 404);
  });

  it('are found by an index, however many events there are', async () => {
    const { database } = gatehouse;
    const plan = await database.transaction().execute(async (tx) => {
      await sql`set local enable_seqscan = off`.execute(tx);
      const { rows } = await sql<Record<string, string>>`explain select from audit_events e
        where e.client_id = 'busy' and e.event = 'token.issued' and e.details ? 'expires_at'
        and e.occurred_at > now() and (e.details->>'expires_at') collate "C" > '2026'
        order by (e.details->>'expires_at') collate "C" desc, (e.details->>'jti') collate "C" desc limit 50`.execute(
        tx,
      );
      return rows.map((row) => Object.values(row)[0]).join('\n');
    });
    assert.match(plan, /Index (Only )?Scan Backward using audit_events_\S*/);
    assert.match(plan, /Index Cond: .*client_id = 'busy'.*expires_at/);
    assert.doesNotMatch(plan, /-> {2}Sort/);
  });
});
