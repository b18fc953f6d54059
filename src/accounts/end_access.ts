/**
 * Ends all that was granted to a person or their browsers: sessions, grants, tokens, remembered devices, and logins that
 * are not finished.
 */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { sha256, type Digest } from '../base/secret.ts';
import type { Tx } from '../db/connection.ts';
import { announceLogouts } from './logouts.ts';

/** `keptSession` is the id of a session that stays, with the grants of its applications. */
export async function endAccess(
  { tx, now }: Pick<UnitOfWork, 'tx' | 'now'>,
  accountId: string,
  keptSession?: string,
): Promise<void> {
  const kept = keptSession === undefined ? [] : await grantsOfSession(tx, accountId, keptSession);
  const isOther = sql<boolean>`(kind <> 'Session' or uid is distinct from ${keptSession ?? null})`;
  const isUnderOther = sql<boolean>`(grant_id is null or grant_id <> all(${kept}::bytea[]))`;
  await tx.deleteFrom('grants').where('account_id', '=', accountId).where(isUnderOther).execute();
  await tx.deleteFrom('remembered_devices').where('account_id', '=', accountId).execute();
  const sessions = await tx
    .deleteFrom('artifacts')
    .where('account_id', '=', accountId)
    .where('kind', '=', 'Session')
    .where(isOther)
    .returning(['account_id as accountId', 'payload'])
    .execute();
  await tx.deleteFrom('artifacts').where('account_id', '=', accountId).where(isOther).where(isUnderOther).execute();
  await announceLogouts(tx, sessions, now);
}

/** oidc-provider stores one grant for each client of a session. */
async function grantsOfSession(tx: Tx, accountId: string, sessionId: string): Promise<Digest[]> {
  const session = await tx
    .selectFrom('artifacts')
    .select('payload')
    .where('kind', '=', 'Session')
    .where('account_id', '=', accountId)
    .where('uid', '=', sessionId)
    .executeTakeFirst();
  const { authorizations = {} } = (session?.payload ?? {}) as {
    readonly authorizations?: Readonly<Record<string, { readonly grantId?: string }>>;
  };
  return Object.values(authorizations).flatMap(({ grantId }) => (grantId === undefined ? [] : [sha256(grantId)]));
}
