/**
 * Informs applications that a person's session has ended (OpenID Connect Back-Channel Logout 1.0). The transaction that
 * ends a session also stores the messages, so none is lost; the outbox delivers them.
 */
import { sql } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Tx } from '../db/connection.ts';
import { enqueue } from '../outbox/message.ts';

/** The message type; oidc/logout/backchannel_logout.ts creates logout tokens for it. */
export const BACKCHANNEL_LOGOUT = 'backchannel_logout';

/** After this time the application's own session has ended too. */
const MESSAGE_TTL_SECONDS = DAY_SECONDS;

export interface EndedSession {
  readonly accountId: string | null;
  /** As oidc-provider stores it: the `sid` for each client that the person logged in to. */
  readonly payload: { readonly authorizations?: Readonly<Record<string, { readonly sid?: string }>> };
}

/** Stores one message for each session and each of its clients that registered a logout URI. */
export async function announceLogouts(tx: Tx, ended: readonly EndedSession[], now: Date): Promise<void> {
  const logouts = ended.flatMap(({ accountId, payload }) =>
    Object.entries(payload.authorizations ?? {}).flatMap(([clientId, { sid }]) =>
      accountId !== null && sid !== undefined ? [{ clientId, payload: { account_id: accountId, sid } }] : [],
    ),
  );
  const notified = await withLogoutUri(tx, new Set(logouts.map(({ clientId }) => clientId)));
  const messages = logouts
    .filter(({ clientId }) => notified.has(clientId))
    .map((logout) => ({ ...logout, kind: BACKCHANNEL_LOGOUT, expiresAt: addSeconds(now, MESSAGE_TTL_SECONDS) }));
  await enqueue(tx, messages, now);
}

async function withLogoutUri(tx: Tx, clientIds: ReadonlySet<string>): Promise<ReadonlySet<string>> {
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
