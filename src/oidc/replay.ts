/** Single use of assertions (RFC 7523, 3): one insert decides, on all nodes together. */
import { createHash } from 'node:crypto';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';

/** Whether this is the first use of the `jti` by its issuer. `exp` is when the assertion expires, in epoch seconds. */
export async function useOnce(database: Database, issuer: string, jti: string, exp: number): Promise<boolean> {
  // lengths are hashed too: no two pairs of issuer and jti make one text
  const digest = createHash('sha256')
    .update(JSON.stringify([issuer, jti]))
    .digest() as Digest;
  const { numInsertedOrUpdatedRows } = await database
    .insertInto('used_once')
    .values({ purpose: 'client_assertion', digest, expires_at: new Date(exp * 1000) })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}
