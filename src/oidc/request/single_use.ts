/**
 * Single use of objects that clients and issuers sign (assertions, DPoP proofs, request objects). One insert decides,
 * across all nodes.
 */
import { createHash, randomInt } from 'node:crypto';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { sql } from 'kysely';
import type { Digest } from '../../base/secret.ts';
import type { Database } from '../../db/connection.ts';
import { notesOf } from './request_events.ts';

/** The purposes are separate: the same identifier may be used once for each. */
export type SingleUsePurpose = 'client_assertion' | 'grant_assertion' | 'dpop_proof' | 'request_object';

const MICROSECONDS = 1_000_000;

export interface SingleUse {
  readonly issuer: string;
  readonly jti: string;
  readonly until: number;
}

/**
 * Returns true if this is the first use of `jti` by `issuer` (a client id, an issuer, or the thumbprint of a key).
 * `until`, in epoch seconds, is when the object expires. The use is stored at once, because the rest of the request
 * depends on it; if the request is answered with 503, endpoints.ts takes the use back.
 */
export async function useOnce(
  ctx: Pick<KoaContextWithOIDC, 'req'>,
  database: Database,
  purpose: SingleUsePurpose,
  { issuer, jti, until }: SingleUse,
): Promise<boolean> {
  const digest = digestOf(issuer, jti);
  // random microseconds distinguish this use from others of the same object, so that it can be taken back even if its
  // outcome is unknown
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

/** JSON includes the boundary between the two, so that no two pairs of issuer and jti have the same digest input. */
function digestOf(issuer: string, jti: string): Digest {
  return createHash('sha256')
    .update(JSON.stringify([issuer, jti]))
    .digest() as Digest;
}
