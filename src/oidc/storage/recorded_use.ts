/** Uses up a code or refresh token, stores its successor and writes the audit entry, all with one statement. */
import type { AuditEvent, Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { mayBeCommitted, type UnansweredUses } from '../request/unanswered_uses.ts';
import { takeBackToken, takeBackUse, timeOfUse, useUp, type Successor, type UnusedToken } from './token_rows.ts';

export interface RecordedUseSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly unanswered: UnansweredUses;
}

export interface RecordedUse {
  readonly use: UnusedToken;
  readonly successor: Successor | undefined;
  readonly origin: Origin;
  readonly event: AuditEvent<'token.issued'>;
}

/** Answers whether it was this request that used it up. A use whose outcome is unknown is taken back. */
export async function useOnRecord(
  { database, trail, unanswered }: RecordedUseSettings,
  { use, successor, origin, event }: RecordedUse,
  now: Date,
): Promise<boolean> {
  const usedAt = timeOfUse(now);
  try {
    return await trail.recordWith(origin, [event], (record) => useUp(database, record, use, successor, usedAt));
  } catch (error) {
    if (mayBeCommitted(error)) {
      const takeBacks = [
        (tx: Tx) => takeBackUse(tx, use, usedAt),
        ...(successor ? [(tx: Tx) => takeBackToken(tx, { kind: 'RefreshToken', id: successor.id })] : []),
      ];
      const { clientId, accountId, details } = event;
      const about = { clientId, accountId, details: { grant_type: details.grant_type } };
      await unanswered.takeBack({
        origin,
        event: { event: 'token.undelivered', outcome: 'refused', ...about },
        takeBacks,
      });
    }
    throw error;
  }
}
