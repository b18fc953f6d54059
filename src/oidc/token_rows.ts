/** Codes and refresh tokens as they are stored, each read with what belongs to it, and used up for a successor. */
import type { AdapterPayload } from 'oidc-provider';
import { toAccount, type Account, type AccountRow } from '../accounts/account.ts';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { PreparedStatement } from '../db/prepared.ts';
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

interface Row extends Nullable<AccountRow> {
  readonly payload: object;
  readonly consumed_at: Date | null;
  readonly grant_id: Buffer | null;
  readonly grant_payload: AdapterPayload | null;
  readonly session_uid: string | null;
  readonly session_payload: AdapterPayload | null;
}

type Nullable<Members> = { readonly [Member in keyof Members]: Members[Member] | null };

const READ_TOKEN = new PreparedStatement<Row>(
  'gatehouse_read_token',
  `select accounts.account_id, accounts.email, accounts.email_verified, accounts.name, accounts.profile,
      accounts.password_hash, accounts.disabled_at, accounts.version, accounts.created_at, accounts.updated_at,
      tokens.payload, tokens.consumed_at, tokens.grant_id, grants.payload as grant_payload,
      sessions.uid as session_uid, sessions.payload as session_payload
    from artifacts as tokens
    left join grants on grants.grant_id = tokens.grant_id
    left join accounts on accounts.account_id = tokens.account_id
    left join artifacts as sessions on sessions.kind = 'Session' and sessions.uid = tokens.payload->>'sessionUid'
    where tokens.kind = $1 and tokens.artifact_id = $2`,
);

/** What is no longer there of the rest is left out. */
export async function readTokenRow(database: Database, kind: string, id: Digest): Promise<TokenRow | undefined> {
  const { rows } = await READ_TOKEN.execute(database, kind, id);
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

const USED_UP = `update artifacts
    set consumed_at = $1::timestamptz, expires_at = least(expires_at, $2::timestamptz)
    where kind = $3 and artifact_id = $4 and consumed_at is null
      and grant_id = (select grant_id from grants where grant_id = $5 for key share)`;
const USE_UP = new PreparedStatement('gatehouse_use_up_token', USED_UP);
const USE_UP_FOR_SUCCESSOR = new PreparedStatement(
  'gatehouse_use_up_token_for_successor',
  `with used as (${USED_UP} returning grant_id, account_id, client_id)
    insert into artifacts (kind, artifact_id, grant_id, account_id, client_id, payload, created_at, expires_at)
    select 'RefreshToken', $6, grant_id, account_id, client_id, $7::jsonb, $1::timestamptz, $8::timestamptz from used`,
);

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
  const unused = [now, keptUntil ?? null, kind, id, grantId];
  const { numAffectedRows } = await (successor
    ? USE_UP_FOR_SUCCESSOR.execute(
        database,
        ...unused,
        successor.id,
        payloadJson(successor.payload),
        successor.expiresAt,
      )
    : USE_UP.execute(database, ...unused));
  return numAffectedRows === 1n;
}
