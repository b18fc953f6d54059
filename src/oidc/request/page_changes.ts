/**
 * Changes made by the server's own pages. What the library's models store, what the page itself changes and the audit
 * events are committed in one transaction, as in a protocol request.
 */
import type { Context } from 'koa';
import type { AuditEvent, Origin } from '../../audit/events.ts';
import type { UnitOfWork } from '../../audit/unit_of_work.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import type { Database } from '../../db/connection.ts';
import { requestOf } from '../../http/request_context.ts';
import { requestStore } from '../provider/library_internals.ts';
import { notesOf } from './request_events.ts';
import { commitTogether } from './request_writes.ts';

export interface PageChanges {
  /**
   * Adds a write to the transaction, after what the library's models have stored so far. The write may run more than
   * once.
   */
  add(write: (change: UnitOfWork) => Promise<void>): void;
  record(event: AuditEvent): void;
}

/** Runs `work`, then commits all of its changes, or none. */
export type ChangeTogether = (
  ctx: Context,
  origin: Origin,
  work: (changes: PageChanges) => Promise<void>,
) => Promise<void>;

export function changeTogether(settings: { readonly database: Database; readonly trail: AuditTrail }): ChangeTogether {
  return async (ctx, origin, work) => {
    const { now } = requestOf(ctx);
    const { writes, events } = notesOf(ctx);
    const { trail } = settings;
    const changes: PageChanges = {
      add: (write) => writes.push({ write: (tx) => write({ tx, trail, origin, now }), evenIfRefused: false }),
      record: (event) => events.push(event),
    };
    // the library reads the route of the request; a page has none of the library's routes
    const page: object = Object.create(ctx, { oidc: { value: { route: 'page' } } });
    await requestStore.run(page, () => work(changes));
    await commitTogether(settings, origin, { writes: writes.splice(0), events: events.splice(0) });
  };
}
