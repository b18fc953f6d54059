/** The rows of codes and refresh tokens: reading them with their related rows, and consuming them for a successor. */
import { randomInt } from 'node:crypto';
import type { AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { toAccount, type Account, type AccountRow } from '../../accounts/account.ts';
import { withRecord } from '../../audit/batch_rows.ts';
import type { Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { PreparedStatement } from '../../db/prepared.ts';
import { membershipsColumn, NO_MEMBERSHIPS, type Memberships } from '../../roles/memberships.ts';
import { payloadJson } from './payload_json.ts';

export interface Related {
  readonly grant?: { readonly id: Digest; readonly payload: AdapterPayload } | undefined;
  readonly session?: { readonly uid: string; readonly payload: AdapterPayload } | undefined;
  readonly person?: Person | undefined;
}

/** An account with its groups. */
export interface Person {
  readonly account: Account;
  readonly memberships: Memberships;
}

export interface TokenRow extends Related {
  readonly payload: object;
  readonly consumed_at: Date | null;
}

interface Row extends Nullable<AccountRow> {
  readonly payload: object;
  readonly consumed_at: Date | null;
  readonly grant_id: Buffer | null;
  readonly grant_payload: AdapterPayload | null;
  readonly session_uid: string | null;
  readonly session_payload: AdapterPayload | null;
  readonly memberships: Memberships | null;
}

type Nullable<Members> = { readonly [Member in keyof Members]: Members[Member] | null };

const READ_TOKEN = new PreparedStatement<Row>(
  'gatehouse_read_token',
  `select accounts.account_id, accounts.email, accounts.email_verified, accounts.name, accounts.profile,
      accounts.password_hash, accounts.disabled_at, accounts.version, accounts.created_at, accounts.updated_at,
      tokens.payload, tokens.consumed_at, tokens.grant_id, grants.payload as grant_payload,
      sessions.uid as session_uid, sessions.payload as session_payload,
      ${membershipsColumn('tokens.account_id', '$3')} as memberships
    from artifacts as tokens
    left join grants on grants.grant_id = tokens.grant_id
    left join accounts on accounts.account_id = tokens.account_id
    left join artifacts as sessions on sessions.kind = 'Session' and sessions.uid = tokens.payload->>'sessionUid'
    where tokens.kind = $1 and tokens.artifact_id = $2`,
);

/**
 * Reads a token with its grant, session and account, and with the account's groups if any group exists. A related row
 * that no longer exists is `undefined`.
 */
export async function readTokenRow(
  database: Database,
  { kind, id, withGroups }: { readonly kind: string; readonly id: Digest; readonly withGroups: boolean },
): Promise<TokenRow | undefined> {
  const { rows } = await READ_TOKEN.execute(database, kind, id, withGroups);
  const [row] = rows;
  if (!row) return undefined;
  const { payload, consumed_at, grant_id, grant_payload, session_uid, session_payload } = row;
  return {
    payload,
    consumed_at,
    grant: grant_id && grant_payload ? { id: grant_id as Digest, payload: grant_payload } : undefined,
    session: session_uid !== null && session_payload ? { uid: session_uid, payload: session_payload } : undefined,
    person:
      row.account_id === null
        ? undefined
        : { account: toAccount(row as AccountRow), memberships: row.memberships ?? NO_MEMBERSHIPS },
  };
}

/** In ISO 8601, with microseconds. */
export type TimeOfUse = `${string}Z`;

/**
 * The time that a use is stored with. Its microseconds are random: they tell a use that is taken back from another
 * request's use in the same millisecond.
 */
export function timeOfUse(now: Date): TimeOfUse {
  const microseconds = String(randomInt(1_000)).padStart(3, '0');
  return `${now.toISOString().slice(0, -1)}${microseconds}Z`;
}

/** The refresh token that is stored when the presented code or refresh token is consumed. */
export interface Successor {
  readonly id: Digest;
  readonly payload: object;
  readonly expiresAt: Date;
}

/** A code or refresh token that was read unused, with its grant. */
export interface UnusedToken {
  readonly kind: string;
  readonly id: Digest;
  readonly grantId: Digest;
  /** When its row may be deleted after use, if that is earlier than its expiry. */
  readonly keptUntil: Date | undefined;
}

/** Locks the grant before the token, as the statement that ends a grant with its tokens does, to prevent a deadlock. */
const USE_UP = `update artifacts
    set consumed_at = $10::timestamptz, expires_at = least(expires_at, $11::timestamptz)
    where kind = $12 and artifact_id = $13 and consumed_at is null and exists (select from same_run)
      and grant_id = (select grant_id from grants where grant_id = $14 for key share)
    returning grant_id, account_id, client_id`;
const RECORDED_USE = new PreparedStatement('gatehouse_use_up_token', withRecord(`effect as (${USE_UP})`));
const RECORDED_USE_FOR_SUCCESSOR = new PreparedStatement(
  'gatehouse_use_up_token_for_successor',
  withRecord(`used as (${USE_UP}),
    effect as (
      insert into artifacts (kind, artifact_id, grant_id, account_id, client_id, payload, created_at, expires_at)
      select 'RefreshToken', $15, grant_id, account_id, client_id, $16::jsonb, $10::timestamptz, $17::timestamptz from used
      returning 1)`),
);

/**
 * Consumes the row, and stores the successor and the audit record (`recordWith`) in the same statement. Resolves to
 * true for exactly one of several simultaneous calls.
 */
export async function useUp(
  database: Database,
  record: readonly unknown[],
  { kind, id, grantId, keptUntil }: UnusedToken,
  successor: Successor | undefined,
  usedAt: TimeOfUse,
): Promise<boolean> {
  const unused = [...record, usedAt, keptUntil ?? null, kind, id, grantId];
  const { numAffectedRows } = await (successor
    ? RECORDED_USE_FOR_SUCCESSOR.execute(
        database,
        ...unused,
        successor.id,
        payloadJson(successor.payload),
        successor.expiresAt,
      )
    : RECORDED_USE.execute(database, ...unused));
  return numAffectedRows !== undefined && numAffectedRows > 0n;
}

/**
 * Each use within the grace period adds this to the time of the first use, so that only the last use can be taken back.
 */
const AGAIN = sql`interval '1 microsecond'`;

export interface UsedArtifact {
  readonly kind: string;
  readonly id: Digest;
}

/**
 * Consumes a single-use artifact as part of a request's changes. Resolves to false if another request has consumed it,
 * or did so before the grace period. Locks the grant first, as `useUp` does.
 */
export async function useArtifact(
  tx: Tx,
  { kind, id }: UsedArtifact,
  use: { readonly usedAt: TimeOfUse; readonly keptUntil: Date | undefined; readonly graceBegan: Date | undefined },
): Promise<boolean> {
  const { numAffectedRows } = await sql`with held as materialized (
      select grants.grant_id from grants
      where grant_id = (select grant_id from artifacts where kind = ${kind} and artifact_id = ${id}) for key share)
    update artifacts set
      consumed_at = coalesce(consumed_at + ${AGAIN}, ${use.usedAt}::timestamptz),
      expires_at = least(expires_at, ${use.keptUntil ?? null}::timestamptz)
    where kind = ${kind} and artifact_id = ${id} and (grant_id is null or exists (select from held))
      and (consumed_at is null or consumed_at > ${use.graceBegan ?? null}::timestamptz)`.execute(tx);
  return numAffectedRows === 1n;
}

/**
 * Undoes a use whose request was answered with 503, if it was committed; `usedAt` identifies the use. Waits for a
 * running transaction.
 */
export async function takeBackUse(tx: Tx, { kind, id }: UsedArtifact, usedAt: TimeOfUse): Promise<boolean> {
  await tx
    .selectFrom('artifacts')
    .select('kind')
    .where('kind', '=', kind)
    .where('artifact_id', '=', id)
    .forUpdate()
    .execute();
  const { numUpdatedRows } = await tx
    .updateTable('artifacts')
    .set({
      consumed_at: null,
      // use shortens the expiry of a refresh token; an encrypted payload has no readable `exp`, and its expiry was not
      // shortened
      expires_at: sql<Date>`coalesce(to_timestamp((payload->>'exp')::bigint), expires_at)`,
    })
    .where('kind', '=', kind)
    .where('artifact_id', '=', id)
    .where('consumed_at', '=', sql<Date>`${usedAt}::timestamptz`)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Deletes a token that was not delivered to its client. */
export async function takeBackToken(tx: Tx, { kind, id }: UsedArtifact): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('artifacts')
    .where('kind', '=', kind)
    .where('artifact_id', '=', id)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
