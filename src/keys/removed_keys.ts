/** Removes signing keys: nodes drop them within a second, and their signatures fail from then on. */
import { sql, type DeleteQueryBuilder, type DeleteResult } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { DAY_SECONDS } from '../base/clock.ts';
import type { Tx } from '../db/connection.ts';
import type { Tables } from '../db/tables.ts';
import { recordChange } from '../invalidation/log.ts';

/**
 * The longest lifetime of a token (see resources): the tokens of a key that last signed before this time have expired.
 */
export const TOKEN_TTL_SECONDS_AT_MOST = DAY_SECONDS;

type Removal = DeleteQueryBuilder<Tables, 'signing_keys', DeleteResult>;

/** Serializes changes of keys; other transactions do not wait. */
export async function lockKeys(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.signing_keys'))`.execute(tx);
}

/** Removes the keys that `which` selects. */
export async function removeKeys(
  { tx, trail, origin, now }: UnitOfWork,
  which: (keys: Removal) => Removal,
): Promise<void> {
  const removed = await which(tx.deleteFrom('signing_keys')).returning(['kid', 'alg', 'data_key_id']).execute();
  for (const { kid, alg, data_key_id } of removed) {
    await tx.deleteFrom('data_keys').where('data_key_id', '=', data_key_id).execute();
    await trail.recordIn(tx, origin, { event: 'signing_key.removed', outcome: 'success', details: { kid, alg } });
    await recordChange(tx, { topic: 'signing_keys', key: alg }, now);
  }
}
