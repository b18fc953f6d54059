/** Single use of what clients sign (assertions, DPoP proofs, backchannel requests): one insert decides, on all nodes together. */
import { createHash, randomInt } from 'node:crypto';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { sql } from 'kysely';
import type { Digest } from '../../base/secret.ts';
import type { Database } from '../../db/connection.ts';
import { notesOf } from './request_events.ts';

/** What is used once; the same identifier for two purposes is two things. */
export type SingleUsePurpose = 'client_assertion' | 'grant_assertion' | 'dpop_proof' | 'request_object';

const MICROSECONDS = 1_000_000;

export interface SingleUse {
  readonly issuer: string;
  readonly jti: string;
  readonly until: number;
}

/**
 * Whether this is the first use of the `jti` by its issuer: a client, or the thumbprint of a key. `until` is when it
 * is refused for its age anyway, in epoch seconds. It is used up at once, for the rest of the request depends on it;
 * where the request is answered with 503 in the end, the use is taken back (endpoints.ts).
 */
export async function useOnce(
  ctx: Pick<KoaContextWithOIDC, 'req'>,
  database: Database,
  purpose: SingleUsePurpose,
  { issuer, jti, until }: SingleUse,
): Promise<boolean> {
  const digest = digestOf(issuer, jti);
  // tells this use from any other of the same, so that it can be taken back though its outcome is unknown
  const expires_at = sql<Date>`${new Date(until * 1000)}::timestamptz + ${randomInt(MICROSECONDS)}::int * interval '1 microsecond'`;
  notesOf(ctx).releases.push(async (tx) => {
    const { numDeletedRows } = await tx
      .deleteFrom('used_once')
      .where('purpose', '=', purpose)
      .where('digest', '=', digest)
      .where('expires_at', '=', expires_at)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  });
  const { numInsertedOrUpdatedRows } = await database
    .insertInto('used_once')
    .values({ purpose, digest, expires_at })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** Lengths are hashed too: no two pairs of issuer and jti make one text. */
function digestOf(issuer: string, jti: string): Digest {
  return createHash('sha256')
    .update(JSON.stringify([issuer, jti]))
    .digest() as Digest;
}
