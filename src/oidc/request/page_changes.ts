/**
 * Changes that pages of ours make: what they store through the library's models, what they change themselves and what
 * goes on record is committed together, as in a request of the protocol.
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
  /** Runs in the transaction, after what the library's models have stored so far. It may run again. */
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
    // a person may have waited for their password to be looked at: that time is theirs
    const began = performance.now();
    const { writes, events } = notesOf(ctx);
    const { trail } = settings;
    const changes: PageChanges = {
      add: (write) => writes.push({ write: (tx) => write({ tx, trail, origin, now }), evenIfRefused: false }),
      record: (event) => events.push(event),
    };
    // the library looks at the route of a request; this one is none of its own
    const page: object = Object.create(ctx, { oidc: { value: { route: 'page' } } });
    await requestStore.run(page, () => work(changes));
    await commitTogether(settings, origin, began, { writes: writes.splice(0), events: events.splice(0) });
  };
}
