/** Single use of what clients sign (assertions, DPoP proofs, backchannel requests): one insert decides, on all nodes together. */
import { createHash } from 'node:crypto';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';

/** What is used once; the same identifier for two purposes is two things. */
export type Purpose = 'client_assertion' | 'grant_assertion' | 'dpop_proof' | 'request_object';

/**
 * Whether this is the first use of the `jti` by its issuer: a client, or the thumbprint of a key. `until` is when it
 * is refused for its age anyway, in epoch seconds.
 */
export async function useOnce(
  database: Database,
  purpose: Purpose,
  { issuer, jti, until }: { readonly issuer: string; readonly jti: string; readonly until: number },
): Promise<boolean> {
  // lengths are hashed too: no two pairs of issuer and jti make one text
  const digest = createHash('sha256')
    .update(JSON.stringify([issuer, jti]))
    .digest() as Digest;
  const { numInsertedOrUpdatedRows } = await database
    .insertInto('used_once')
    .values({ purpose, digest, expires_at: new Date(until * 1000) })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}
