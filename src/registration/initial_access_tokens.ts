/**
 * Initial access tokens (RFC 7591, 3): each permits a limited number of registrations under one policy, until it
 * expires.
 */
import { addSeconds } from '../base/clock.ts';
import { randomId } from '../base/ids.ts';
import { invalid, notFound } from '../base/refusal.ts';
import { sha256, type Secret } from '../base/secret.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader, Tx } from '../db/connection.ts';
import { findPolicy } from './policy_store.ts';

export interface NewInitialAccessToken {
  readonly policy: string;
  readonly uses: number;
  readonly expiresInSeconds: number;
  readonly note?: string | undefined;
}

/** A stored token, without its value. */
export interface InitialAccessToken {
  readonly tokenId: string;
  readonly policy: string;
  readonly note: string | null;
  readonly uses: number;
  readonly usesLeft: number;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly revokedAt: Date | null;
}

const COLUMNS = ['token_id', 'policy', 'note', 'uses', 'uses_left', 'created_at', 'expires_at', 'revoked_at'] as const;

/** Stores a new token as a digest of `value`. Throws `invalid` if the policy does not exist. */
export async function createInitialAccessToken(
  { tx, trail, origin, now }: UnitOfWork,
  value: Secret,
  { policy, uses, expiresInSeconds, note }: NewInitialAccessToken,
): Promise<InitialAccessToken> {
  if (!(await findPolicy(tx, policy))) throw invalid('/policy', 'must be the name of a registration policy');
  const row = await tx
    .insertInto('initial_access_tokens')
    .values({
      token_id: randomId('initial_access_token'),
      digest: sha256(value.reveal()),
      policy,
      note: note ?? null,
      uses,
      uses_left: uses,
      created_at: now,
      expires_at: addSeconds(now, expiresInSeconds),
      revoked_at: null,
    })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow();
  await trail.recordIn(tx, origin, {
    event: 'initial_access_token.created',
    outcome: 'success',
    details: { token_id: row.token_id, policy, uses, expires_at: row.expires_at.toISOString() },
  });
  return toToken(row);
}

/** Revokes a token at once. A token that is already revoked stays unchanged. */
export async function revokeInitialAccessToken({ tx, trail, origin, now }: UnitOfWork, tokenId: string): Promise<void> {
  const row = await tx
    .updateTable('initial_access_tokens')
    .set({ revoked_at: now })
    .where('token_id', '=', tokenId)
    .where('revoked_at', 'is', null)
    .returning('policy')
    .executeTakeFirst();
  if (row) {
    const details = { token_id: tokenId, policy: row.policy };
    await trail.recordIn(tx, origin, { event: 'initial_access_token.revoked', outcome: 'success', details });
    return;
  }
  if (!(await findInitialAccessToken(tx, tokenId))) throw notFound('Initial access token not found.');
}

/** The policy of a presented token, if the token is still valid. Does not use it up. */
export async function policyOfToken(reader: Reader, presented: string, now: Date): Promise<string | undefined> {
  const row = await reader
    .selectFrom('initial_access_tokens')
    .select('policy')
    .where('digest', '=', sha256(presented))
    .where('uses_left', '>', 0)
    .where('expires_at', '>', now)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  return row?.policy;
}

/** Takes one of the token's uses; `undefined` if none is left. Simultaneous calls never take the same use. */
export async function useInitialAccessToken(
  tx: Tx,
  presented: string,
  now: Date,
): Promise<{ readonly tokenId: string; readonly policy: string } | undefined> {
  const row = await tx
    .updateTable('initial_access_tokens')
    .set((token) => ({ uses_left: token('uses_left', '-', 1) }))
    .where('digest', '=', sha256(presented))
    .where('uses_left', '>', 0)
    .where('expires_at', '>', now)
    .where('revoked_at', 'is', null)
    .returning(['token_id', 'policy'])
    .executeTakeFirst();
  return row && { tokenId: row.token_id, policy: row.policy };
}

export async function findInitialAccessToken(reader: Reader, tokenId: string): Promise<InitialAccessToken | undefined> {
  const row = await reader
    .selectFrom('initial_access_tokens')
    .select(COLUMNS)
    .where('token_id', '=', tokenId)
    .executeTakeFirst();
  return row && toToken(row);
}

export interface TokenPage {
  readonly limit: number;
  readonly policy?: string | undefined;
  readonly after?: { readonly createdAt: Date; readonly tokenId: string } | undefined;
}

/** Lists tokens in order of creation. */
export async function readInitialAccessTokens(
  reader: Reader,
  { limit, policy, after }: TokenPage,
): Promise<InitialAccessToken[]> {
  let rows = reader
    .selectFrom('initial_access_tokens')
    .select(COLUMNS)
    .orderBy('created_at')
    .orderBy('token_id')
    .limit(limit);
  if (policy !== undefined) rows = rows.where('policy', '=', policy);
  if (after) {
    rows = rows.where(({ eb, refTuple, tuple }) =>
      eb(refTuple('created_at', 'token_id'), '>', tuple(after.createdAt, after.tokenId)),
    );
  }
  return (await rows.execute()).map(toToken);
}

interface Row {
  readonly token_id: string;
  readonly policy: string;
  readonly note: string | null;
  readonly uses: number;
  readonly uses_left: number;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly revoked_at: Date | null;
}

function toToken(row: Row): InitialAccessToken {
  return {
    tokenId: row.token_id,
    policy: row.policy,
    note: row.note,
    uses: row.uses,
    usesLeft: row.uses_left,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}
