/**
 * Telling applications that a person's session has ended (OpenID Connect Back-Channel Logout 1.0). Whoever ends one does
 * it in the same transaction, so no session ends unheard; the outbox sees to it that the message arrives.
 */
import { sql } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Tx } from '../db/connection.ts';
import { enqueue } from '../outbox/message.ts';

/** Names the messages; oidc/backchannel_logout.ts makes logout tokens from them. */
export const BACKCHANNEL_LOGOUT = 'backchannel_logout';

/** By then an application's own session is over as well. */
const KEPT_SECONDS = DAY_SECONDS;

export interface EndedSession {
  readonly accountId: string | null;
  /** As oidc-provider stores it: for each client that the person was logged in to, the `sid` that it knows. */
  readonly payload: { readonly authorizations?: Readonly<Record<string, { readonly sid?: string }>> };
}

/** One message for each session and each client of it that wants to be told. */
export async function announceLogouts(tx: Tx, ended: readonly EndedSession[], now: Date): Promise<void> {
  const logouts = ended.flatMap(({ accountId, payload }) =>
    Object.entries(payload.authorizations ?? {}).flatMap(([clientId, { sid }]) =>
      accountId !== null && sid !== undefined ? [{ clientId, payload: { account_id: accountId, sid } }] : [],
    ),
  );
  const told = await wantToBeTold(tx, new Set(logouts.map(({ clientId }) => clientId)));
  const messages = logouts
    .filter(({ clientId }) => told.has(clientId))
    .map((logout) => ({ ...logout, kind: BACKCHANNEL_LOGOUT, expiresAt: addSeconds(now, KEPT_SECONDS) }));
  await enqueue(tx, messages, now);
}

async function wantToBeTold(tx: Tx, clientIds: ReadonlySet<string>): Promise<ReadonlySet<string>> {
  if (clientIds.size === 0) return clientIds;
  const rows = await tx
    .selectFrom('clients')
    .select('client_id')
    .where('client_id', 'in', [...clientIds])
    .where('revoked_at', 'is', null)
    .where(sql<boolean>`metadata ? 'backchannel_logout_uri'`)
    .execute();
  return new Set(rows.map((row) => row.client_id));
}
