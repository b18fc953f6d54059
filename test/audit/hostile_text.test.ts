import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { SYSTEM, type AuditEvent } from '../../src/audit/events.ts';
import { Admin } from '../support/client/admin.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const NDJSON = { accept: 'application/x-ndjson' };

describe('the audit trail', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  it('takes what no database could hold, however deep, and with it what others write at the moment', async () => {
    const trail = await openTrail(gatehouse.database);
    const evil = 'a\0b\ud800';
    const hostile: AuditEvent = {
      event: 'token.refused',
      outcome: 'refused',
      clientId: evil,
      accountId: evil,
      details: { error: evil, reason: { z: [{ [evil]: evil }], a: evil, list: [evil] } as unknown as string },
    };
    const innocent: AuditEvent = {
      event: 'login.failed',
      outcome: 'refused',
      clientId: 'beside',
      details: { reason: 'wrong_password' },
    };
    const origin = { actor: { type: 'client', id: evil }, address: evil, requestId: 'hostile' } as const;
    // the first is under way while the others gather to one batch
    await Promise.all([
      trail.record(SYSTEM, innocent),
      trail.record(SYSTEM, innocent),
      trail.record(origin, hostile),
      trail.record(SYSTEM, innocent),
    ]);
    const { body } = await admin.get('/audit-events?event=token.refused');
    const kept = 'a\ufffdb\ufffd';
    const [event] = body.items;
    assert.equal(event?.client_id, kept);
    assert.deepEqual(event['details'], { error: kept, reason: { z: [{ [kept]: kept }], a: kept, list: [kept] } });
    // what was hashed is what is stored
    await proofOf(gatehouse);
  });

  it('takes requests of clients whose names no database could hold', async () => {
    for (const path of ['/token', '/par', '/introspect', '/revoke', '/device_authorization']) {
      const form = { client_id: 'a\0b', grant_type: 'client_credentials', token: 'x' };
      const { status } = await postForm(`${gatehouse.url}${path}`, form);
      assert.ok(status >= 400 && status < 500, `${path} ${status}`);
    }
  });

  it('is read and exported whole, also where it has times that this server would not have written', async () => {
    const rows = 1_201;
    await sql`insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, client_id, details)
      select '00000000-0000-4000-8000-000000000000', ${rows} - n,
        '2026-01-01T00:00:00Z'::timestamptz + make_interval(secs => n / 1e6), 'token.issued', 'success', 'system',
        'microseconds', '{}' from generate_series(1, ${rows}) n`.execute(gatehouse.database);
    const { text } = await admin.get('/audit-events?client_id=microseconds', NDJSON);
    const sequencesIn = (items: readonly unknown[]): number[] =>
      items.map((item) => (item as { readonly sequence: number }).sequence);
    const expected = Array.from({ length: rows }, (_, index) => rows - 1 - index);
    const lines = text.trimEnd().split('\n');
    assert.deepEqual(sequencesIn(lines.map((line) => JSON.parse(line) as { sequence: number })), expected);

    const paged: number[] = [];
    let cursor: string | undefined;
    do {
      const query = new URLSearchParams({
        client_id: 'microseconds',
        order: 'asc',
        limit: '100',
        ...(cursor && { cursor }),
      });
      const { body } = await admin.get(`/audit-events?${query}`);
      paged.push(...sequencesIn(body.items));
      cursor = body.next_cursor;
    } while (cursor !== undefined && paged.length <= rows);
    assert.deepEqual(paged, expected);
  });
});
