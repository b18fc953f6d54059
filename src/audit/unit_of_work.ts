/**
 * The arguments of a function that changes data: its transaction, the audit trail, the origin of the request and the
 * time.
 */
import type { Tx } from '../db/connection.ts';
import type { Origin } from './events.ts';
import type { AuditTrail } from './trail.ts';

export interface UnitOfWork {
  readonly tx: Tx;
  readonly trail: AuditTrail;
  readonly origin: Origin;
  readonly now: Date;
}
