/** The messages that the outbox stores for one receiver: those that wait, and those that were given up. */
import { sql } from 'kysely';
import type { Reader } from '../db/connection.ts';
import type { NewMessage } from './message.ts';

export interface StoredMessage {
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** `null` while the message waits to be sent. */
  readonly givenUpAt: Date | null;
}

/** The oldest first, without what they say. */
export async function listStoredMessages(
  reader: Reader,
  { kind, clientId }: Pick<NewMessage, 'kind' | 'clientId'>,
): Promise<StoredMessage[]> {
  const rows = await reader
    .selectFrom('outbox')
    .select(['created_at', 'expires_at', 'failed_at'])
    // a literal, so that the index of this kind serves the query
    .where('kind', '=', sql.lit(kind))
    .where('client_id', '=', clientId)
    .orderBy('created_at')
    .orderBy('message_id')
    .execute();
  return rows.map(({ created_at, expires_at, failed_at }) => ({
    createdAt: created_at,
    expiresAt: expires_at,
    givenUpAt: failed_at,
  }));
}
