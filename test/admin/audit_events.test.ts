import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { postForm, startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';

const SENDER = '203.0.113.9';

describe('the filters of the audit trail', () => {
  let gatehouse: OwnGatehouse;
  let admin: Admin;
  let client: string;
  let began: string;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32' } });
    admin = await Admin.of(gatehouse);
    began = new Date().toISOString();
    client = (await admin.post('/clients', { client_name: 'Watched' })).body.client_id;
    await admin.patch(`/clients/${client}`, { client_name: 'Watched on' });
    await admin.post('/resources', {
      identifier: 'https://watched.example',
      scopes: [{ name: 'watched:read', description: 'Read' }],
    });
    await admin.delete(`/resources/${encodeURIComponent('https://watched.example')}`);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const list = async (query: string): Promise<readonly Body[]> => {
    const { status, body, text } = await admin.get(`/audit-events?order=asc&limit=200&${query}`);
    assert.equal(status, 200, text);
    return body.items;
  };
  const names = async (query: string): Promise<unknown[]> => (await list(query)).map((item) => item['event']);
  const since = (): string => `from=${encodeURIComponent(began)}`;
  const refusal = async (query: string): Promise<Body['errors'][number]> => {
    const { status, body } = await admin.get(`/audit-events?${query}`);
    assert.equal(status, 400, query);
    return body.errors[0]!;
  };
  const idOf = (answer: { readonly headers: Headers }): string => answer.headers.get('x-request-id')!;
  const junk = () =>
    fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: 'Bearer junk', 'x-forwarded-for': SENDER } });

  it('find what a request did by its id, without a word about when (FIELD-E6)', async () => {
    const changed = await admin.patch(`/clients/${client}`, { client_name: 'Found' });
    assert.deepEqual(await names(`request_id=${idOf(changed)}`), ['client.updated']);
    const given = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, gatehouse.demo);
    assert.deepEqual(await names(`request_id=${idOf(given)}`), ['token.issued']);
    const page = await fetch(`${gatehouse.url}/authorize?client_id=nowhere`, { headers: { accept: 'text/html' } });
    const shown = /<code>([0-9a-f-]{36})<\/code>/.exec(await page.text())?.[1];
    assert.deepEqual(await names(`request_id=${shown}`), ['authorization.refused']);
  });

  it('find the entry that counts refusals by the ids of the first and the last of them (FIELD-E6)', async () => {
    const answers = [];
    for (let n = 0; n < 9; n++) answers.push(await junk());
    moveClock(3_600);
    await gatehouse.runJobs();
    admin = await Admin.of(gatehouse);
    const found = await Promise.all(answers.map((answer) => list(`request_id=${idOf(answer)}`)));
    const counts = found.map(
      ([entry]) => entry && (entry['details'] as { repeated?: { count: number } }).repeated?.count,
    );
    const own = [undefined, undefined, undefined, undefined, undefined];
    assert.deepEqual(counts, [...own, 4, undefined, undefined, 4]);
    assert.deepEqual(
      found.map(({ length }) => length),
      [1, 1, 1, 1, 1, 1, 0, 0, 1],
    );
  });

  it('take several names and prefixes of events (FIELD-E6)', async () => {
    const ofClient = ['client.created', 'client.updated', 'client.updated'];
    assert.deepEqual(await names(`client_id=${client}&event=client.*`), ofClient);
    assert.deepEqual(await names(`client_id=${client}&event=client.updated,secret.*`), [
      'secret.created',
      'client.updated',
      'client.updated',
    ]);
    assert.deepEqual(await names(`${since()}&event=resource.*`), [
      'resource.created',
      'resource.deleted',
      'resource.rights_ended',
    ]);
  });

  it('refuse names that no event has, other parameters, and what is malformed (FIELD-E6)', async () => {
    for (const event of [
      'client.painted',
      'client.created,painted',
      '*',
      'client.',
      'painted.*',
      '',
      'client.created,',
    ])
      assert.equal((await refusal(`event=${event}`)).parameter, 'event', event);
    assert.match(
      (await refusal('event=client.created,client.painted')).detail,
      /names an unknown event: client\.painted/,
    );
    for (const query of ['request_id=x', 'actor_type=house', 'address=localhost', 'outcome=maybe', 'from=today'])
      assert.equal((await refusal(query)).parameter, query.split('=')[0], query);
    assert.equal((await refusal('colour=red')).parameter, 'colour');
  });

  it('find who did it, from where and about what, within a time (FIELD-E6)', async () => {
    const { body } = await admin.post('/clients', { client_name: 'Other' }, { 'x-forwarded-for': SENDER });
    const ours = `${since()}&actor_type=client&actor_id=${gatehouse.admin.client_id}`;
    assert.deepEqual(await names(`${ours}&address=${SENDER}`), ['client.created', 'secret.created']);
    assert.deepEqual(await names(`${since()}&resource=${encodeURIComponent('https://watched.example')}`), [
      'resource.created',
      'resource.deleted',
      'resource.rights_ended',
    ]);
    assert.deepEqual(await names(`${since()}&resource=${body.client_id}`), ['client.created', 'secret.created']);
    assert.deepEqual(await names(`${since()}&actor_type=system&client_id=${body.client_id}`), []);
  });

  it('demand a time for what no index leads to, and say so (FIELD-E6)', async () => {
    for (const query of ['actor_type=system', `actor_id=${client}`, `address=${SENDER}`, `resource=${client}`]) {
      const { parameter, detail } = await refusal(query);
      assert.equal(parameter, 'from', query);
      assert.match(detail, /is required with \w+ and must be at most 31 days before now/);
      assert.equal((await refusal(`${query}&from=2020-01-01T00:00:00Z`)).parameter, 'from');
      assert.equal((await refusal(`${query}&from=2020-01-01T00:00:00Z&to=2021-01-01T00:00:00Z`)).parameter, 'from');
      await list(`${query}&from=2020-01-01T00:00:00Z&to=2020-01-31T00:00:00Z`);
      assert.equal((await refusal(`${query}&client_id=${client}`)).parameter, 'from', 'a client may have many entries');
    }
    assert.equal((await refusal('outcome=refused')).parameter, 'from');
    for (const narrow of [`client_id=${client}`, 'event=client.created', since()])
      await list(`outcome=refused&${narrow}`);
    // an id of a version whose ids don't tell when they were made
    const earlier = 'request_id=6f0a5c3e-2c1b-4a57-9f3e-1c2d3e4f5a6b';
    assert.equal((await refusal(earlier)).parameter, 'from');
    await list(`${earlier}&${since()}`);
  });

  it('bind a cursor: it is good for the same filters alone', async () => {
    const { body } = await admin.get(`/audit-events?limit=1&client_id=${client}&event=client.*`);
    const next = `cursor=${body.next_cursor}`;
    assert.equal((await admin.get(`/audit-events?limit=1&client_id=${client}&event=client.*&${next}`)).status, 200);
    assert.equal((await refusal(`limit=1&client_id=${client}&event=client.updated&${next}`)).parameter, 'cursor');
    assert.equal(
      (await refusal(`limit=1&client_id=${client}&event=client.*&address=${SENDER}&${next}`)).parameter,
      'cursor',
    );
  });

  it('narrow an export too, which puts them on record', async () => {
    const { text } = await admin.get(`/audit-events?client_id=${client}&event=client.*`, {
      accept: 'application/x-ndjson',
    });
    assert.equal(text.trimEnd().split('\n').length, 3);
    const [exported] = await list(`${since()}&event=audit.exported`);
    assert.equal((exported!['details'] as Body)['event'], 'client.*');
  });
});
