import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { sql } from 'kysely';
import { canonical, sha256 } from '../../src/audit/canonical.ts';
import { hashOf, type Link } from '../../src/audit/chain.ts';
import { Admin } from '../support/client/admin.ts';
import {
  exportOf,
  keysOf,
  problemIn,
  problemOf,
  proofIn,
  proofOf,
  startWatched,
} from '../support/node/audit_evidence.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('the audit trail as evidence', () => {
  let gatehouse: Gatehouse;
  beforeEach(async () => {
    gatehouse = await startWatched();
  });
  afterEach(() => gatehouse.stop());

  it('proves itself, entry by entry, to a verifier with the public key', async () => {
    const text = await exportOf(gatehouse);
    const said = await proofIn(text, await keysOf(gatehouse));
    const stored = await gatehouse.database.selectFrom('audit_events').select('event').execute();
    // all but the tokens that were asked for since
    assert.ok(said.entries >= 10 && said.entries <= stored.length);
    assert.equal(said.unproven, 0);
    assert.match(text, /"event":"audit.exported"/);
  });

  it('is of the form that its documentation describes: canonical JSON, SHA-256, links after one another', async () => {
    const lines = (await exportOf(gatehouse))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const links = lines.flatMap((line) => (line['link'] as Link | undefined) ?? []);
    assert.ok(links.length > 3);
    const hashes = links.flatMap((link) => link.entries);
    const written = lines
      .filter((line) => 'event' in line)
      .map((entry) => sha256(canonical(entry)).toString('base64url'));
    assert.deepEqual(written, hashes);
    for (const link of links.filter(({ number }) => number > 1)) {
      const previous = links.find(({ stream, number }) => stream === link.stream && number === link.number - 1);
      assert.equal(link.previous, hashOf(previous!));
    }
  });

  it('says how far the search for entries that nothing proves has come, page by page', async () => {
    const { stream, sequence } = await gatehouse.database
      .selectFrom('audit_events')
      .select(['stream', 'sequence'])
      .executeTakeFirstOrThrow();
    // entries that an intruder added, more than one search reads at a time
    await sql`insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, details)
      select ${stream}::uuid, ${sequence}::bigint + 1000000 + n, now() + interval '1 second' * n, 'made_up',
        'success', 'system', '{}' from generate_series(1, 1500) n`.execute(gatehouse.database);
    const lines = (await exportOf(gatehouse)).trimEnd().split('\n');
    const examined = lines.filter((line) => line.startsWith('{"examined"'));
    assert.equal(examined.length, 2);
    assert.deepEqual(examined, examined.toSorted());
    assert.equal(lines.filter((line) => line.startsWith('{"unproven"') && line.includes('made_up')).length, 1_500);
    assert.match(await problemOf(gatehouse), /added/);
  });

  it('is not proven by another key', async () => {
    const other = await startGatehouse();
    try {
      assert.match(
        await problemIn(await exportOf(gatehouse), await keysOf(other)),
        /not signed by a key that you trust/,
      );
    } finally {
      await other.stop();
    }
  });

  it('notices a file that was shortened, or had a line changed', async () => {
    const text = await exportOf(gatehouse);
    const keys = await keysOf(gatehouse);
    await requestToken(gatehouse.url, gatehouse.demo);
    const all = (await exportOf(gatehouse)).trimEnd().split('\n');
    const lines = all.slice(
      0,
      all.findIndex((line) => line.startsWith('{"examined"')),
    );
    const lastCheckpoint = lines.findLastIndex((line) => line.startsWith('{"checkpoint"'));
    assert.match(await problemIn(lines.slice(0, lastCheckpoint).join('\n'), keys), /the end was removed/);
    assert.match(await problemIn(lines.slice(0, -1).join('\n'), keys), /removed/);
    assert.match(await problemIn(text.replace('client.created', 'client.deleted'), keys), /changed|not signed/);
    assert.match(await problemIn('', keys), /empty/);
    assert.match(await problemIn('not json', keys), /not a JSON object/);
  });

  it('has no entry of a change that was rolled back', async () => {
    const { demo } = gatehouse;
    const admin = await Admin.of(gatehouse);
    const resources = [{ resource: demo.resource, scopes: ['notes:delete'] }];
    assert.equal((await admin.patch(`/clients/${demo.client_id}`, { resources })).status, 400);
    await proofOf(gatehouse);
  });

  it('continues after the database refused a batch', async () => {
    const { database } = gatehouse;
    await sql`alter table audit_links rename to audit_links_away`.execute(database);
    for (let i = 0; i < 4; i++) {
      const answer = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, gatehouse.demo);
      assert.equal(answer.status, 503);
      await answer.body?.cancel();
    }
    await sql`alter table audit_links_away rename to audit_links`.execute(database);
    for (let i = 0; i < 4; i++) await requestToken(gatehouse.url, gatehouse.demo);
    await proofOf(gatehouse);
  });

  it('is refused to an admin who may not read the trail', async () => {
    const admin = await Admin.of(gatehouse);
    const lesser = await admin.lesser('clients:read');
    assert.equal((await lesser.get('/audit-evidence')).status, 403);
    assert.equal((await lesser.get('/audit-keys')).status, 403);
  });
});

describe('the audit trail of two nodes', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  it('is one record, even if several nodes make the checkpoints', async () => {
    for (let round = 0; round < 3; round++) {
      await Promise.all(
        [gatehouse, second].flatMap(({ url }) => Array.from({ length: 10 }, () => requestToken(url, gatehouse.demo))),
      );
      await Promise.all([exportOf(gatehouse), exportOf(second)]);
    }
    const [one, other] = [await proofOf(gatehouse), await proofOf(second)];
    assert.ok(one.entries >= 60 && other.entries > one.entries);
  });

  it('proves a part of itself by time', async () => {
    const admin = await Admin.of(gatehouse);
    await exportOf(gatehouse);
    const from = new Date();
    await admin.post('/clients', { client_name: 'Within' });
    const text = await exportOf(gatehouse, `?from=${from.toISOString()}`);
    const said = await proofIn(text, await keysOf(gatehouse));
    assert.ok(said.first!.number > 1);
    assert.match(text, /client\.created/);
    const earlier = await proofOf(gatehouse, `?to=${from.toISOString()}`);
    assert.ok(earlier.last!.number <= said.first!.number);
  });
});
