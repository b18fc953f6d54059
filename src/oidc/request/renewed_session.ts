/** Gives the session of a browser a new id after its owner changed a credential (ASVS 5.0, 7.2.4). */
import { randomBytes } from 'node:crypto';
import type { Context } from 'koa';
import { sql } from 'kysely';
import type { Provider } from 'oidc-provider';
import { sha256 } from '../../base/secret.ts';
import type { Tx } from '../../db/connection.ts';
import type { Session } from './first_party_login.ts';
import { shortCookie } from './cookies.ts';

/**
 * Returns a function that renews the id in a transaction and sends the new cookie. Call it last in the transaction: the
 * browser then has only the new id. The cookie lasts as long as the browser's session; the next request extends it.
 */
export function renewSession({ issuer, provider }: { readonly issuer: string; readonly provider: () => Provider }) {
  return async (ctx: Context, tx: Tx, session: Session): Promise<void> => {
    const id = randomBytes(32).toString('base64url');
    const { numAffectedRows } = await sql`update artifacts set artifact_id = ${sha256(id)}
      where kind = 'Session' and uid = ${session.uid}`.execute(tx);
    if (numAffectedRows === 0n) return;
    const expires = session.transient || session.exp === undefined ? undefined : new Date(session.exp * 1_000);
    const options = { ...shortCookie(issuer), path: '/', ...(expires && { expires }) };
    ctx.cookies.set(provider().cookieName('session'), id, options);
  };
}
