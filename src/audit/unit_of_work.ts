/** What a function needs that changes something: the transaction to do it in, the trail to say it to, on whose behalf, when. */
import type { Tx } from '../db/connection.ts';
import type { Origin } from './events.ts';
import type { AuditTrail } from './trail.ts';

export interface UnitOfWork {
  readonly tx: Tx;
  readonly trail: AuditTrail;
  readonly origin: Origin;
  readonly now: Date;
}
