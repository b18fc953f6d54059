/** Codes and refresh tokens as they are stored, each read with what belongs to it, and used up for a successor. */
import type { AdapterPayload } from 'oidc-provider';
import { CompiledQuery, sql } from 'kysely';
import { toAccount, type Account, type AccountRow } from '../accounts/account.ts';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { payloadJson } from './payload_json.ts';

export interface Related {
  readonly grant?: { readonly id: Digest; readonly payload: AdapterPayload } | undefined;
  readonly session?: { readonly uid: string; readonly payload: AdapterPayload } | undefined;
  readonly account?: Account | undefined;
}

export interface TokenRow extends Related {
  readonly payload: object;
  readonly consumed_at: Date | null;
}

function query(database: Database, kind: string, id: Digest) {
  return database
    .selectFrom('artifacts')
    .leftJoin('grants', 'grants.grant_id', 'artifacts.grant_id')
    .leftJoin('accounts', 'accounts.account_id', 'artifacts.account_id')
    .leftJoin('artifacts as sessions', (join) =>
      join.on('sessions.kind', '=', sql.lit('Session')).on('sessions.uid', '=', sql`artifacts.payload->>'sessionUid'`),
    )
    .selectAll('accounts')
    .select([
      'artifacts.payload',
      'artifacts.consumed_at',
      'artifacts.grant_id',
      'grants.payload as grant_payload',
      'sessions.uid as session_uid',
      'sessions.payload as session_payload',
    ])
    .where('artifacts.kind', '=', kind)
    .where('artifacts.artifact_id', '=', id);
}

type Row = Awaited<ReturnType<ReturnType<typeof query>['executeTakeFirstOrThrow']>>;

/** To write this statement takes as long as to have it carried out; it is always the same. */
let statement: string | undefined;

/** What is no longer there of the rest is left out. */
export async function readTokenRow(database: Database, kind: string, id: Digest): Promise<TokenRow | undefined> {
  statement ??= query(database, kind, id).compile().sql;
  const { rows } = await database.executeQuery<Row>(CompiledQuery.raw(statement, [kind, id]));
  const [row] = rows;
  if (!row) return undefined;
  const { payload, consumed_at, grant_id, grant_payload, session_uid, session_payload } = row;
  return {
    payload,
    consumed_at,
    grant: grant_id && grant_payload ? { id: grant_id as Digest, payload: grant_payload } : undefined,
    session: session_uid !== null && session_payload ? { uid: session_uid, payload: session_payload } : undefined,
    account: row.account_id === null ? undefined : toAccount(row as AccountRow),
  };
}

/** A refresh token that comes into being as what it follows is used up. */
export interface Successor {
  readonly id: Digest;
  readonly payload: object;
  readonly expiresAt: Date;
}

/** A code or refresh token that was found unused, and the grant that it hangs on. */
export interface Unused {
  readonly kind: string;
  readonly id: Digest;
  readonly grantId: Digest;
  /** When its row may go once it is used, if that is sooner than it would go otherwise. */
  readonly keptUntil: Date | undefined;
}

/**
 * Of any number at once one finds the row unused, and stores the successor with the same statement. It takes hold of the
 * grant before the row, as does whoever ends the grant and all that hangs on it: else each could wait for the other.
 */
export async function useUp(
  database: Database,
  { kind, id, grantId, keptUntil }: Unused,
  successor: Successor | undefined,
  now: Date,
): Promise<boolean> {
  const living = sql`select grant_id from grants where grant_id = ${grantId} for key share`;
  const first = sql`update artifacts set consumed_at = ${now}, expires_at = least(expires_at, ${keptUntil ?? null}::timestamptz)
    where kind = ${kind} and artifact_id = ${id} and consumed_at is null and grant_id = (${living})`;
  const { numAffectedRows } = await (
    successor
      ? sql`with used as (${first} returning grant_id, account_id, client_id)
      insert into artifacts (kind, artifact_id, grant_id, account_id, client_id, payload, created_at, expires_at)
      select 'RefreshToken', ${successor.id}, grant_id, account_id, client_id,
        ${payloadJson(successor.payload)}::jsonb, ${now}::timestamptz, ${successor.expiresAt}::timestamptz from used`
      : first
  ).execute(database);
  return numAffectedRows === 1n;
}
