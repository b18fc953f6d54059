import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { EVENT_NAMES } from '../../src/audit/catalogue.ts';
import type { AuditEvent } from '../../src/audit/events.ts';
import { auditEventsPage, PAGE } from '../support/audit_events_page/page.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { demandCataloguedEvents } from '../support/node/recorded_events.ts';

describe('the event catalogue', () => {
  let gatehouse: Gatehouse;

  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('is what docs/audit-events.md says; `npm run docs:events` writes it', () => {
    assert.equal(readFileSync(PAGE, 'utf8'), auditEventsPage());
  });

  it('is checked by the compiler: an event with other details than its own does not compile', () => {
    // each line is an error for the compiler, or the compiler reports the comment above it
    const wrong: readonly AuditEvent[] = [
      // @ts-expect-error A member that the event doesn't have.
      { event: 'grant.revoked', outcome: 'success', details: { grant_id: 'x', colour: 'red' } },
      // @ts-expect-error A member that is missing.
      { event: 'login.succeeded', outcome: 'success' },
      // @ts-expect-error A member of another type.
      { event: 'resource.created', outcome: 'success', details: { resource: 'x', scopes: 'a b' } },
      // @ts-expect-error An outcome that the event can't have.
      { event: 'client.deleted', outcome: 'refused' },
      // @ts-expect-error A name that no event has.
      { event: 'client.painted', outcome: 'success' },
    ];
    assert.equal(wrong.length, 5);
  });

  it('is held against every event that the servers of these tests record', () => {
    const line = (audit: object): string[] => [JSON.stringify({ audit })];
    const event = { event: 'resource.deleted', outcome: 'success', details: { resource: 'x' } };
    demandCataloguedEvents(line(event));
    for (const wrong of [
      { ...event, event: 'resource.painted' },
      { ...event, outcome: 'refused' },
      { ...event, details: { resource: 'x', colour: 'red' } },
      { ...event, details: {} },
    ]) {
      assert.throws(() => demandCataloguedEvents(line(wrong)), /The catalogue does not allow this event/);
    }
  });

  it('is in the OpenAPI document: the names of the events, and the details of each', async () => {
    const response = await gatehouse.adminCall('GET', '/openapi.json');
    const { components } = (await response.json()) as {
      components: { schemas: Record<string, { properties?: { event?: { enum?: string[] } }; oneOf?: unknown[] }> };
    };
    const { AuditEvent } = components.schemas;
    assert.deepEqual(AuditEvent?.properties?.event?.enum, EVENT_NAMES);
    assert.equal(AuditEvent.oneOf?.length, EVENT_NAMES.length);
  });
});
