/**
 * Gives a session another id, so that a copy of its cookie is worth nothing after its person changed a credential. The
 * row keeps its uid, its clients and its grants.
 */
import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Context } from 'koa';
import type { Provider } from 'oidc-provider';
import { sha256 } from '../../base/secret.ts';
import type { Tx } from '../../db/connection.ts';
import { shortCookie } from '../request/cookies.ts';

export interface SessionRenewal {
  /** Stores the new id. Returns false if the session has ended or has another id by now. */
  store(tx: Tx): Promise<boolean>;
  /** Sends the cookie with the new id, after the commit. */
  send(ctx: Context): void;
}

type Session = Awaited<ReturnType<Provider['Session']['get']>>;

export function sessionRenewals({ issuer, provider }: { readonly issuer: string; readonly provider: () => Provider }) {
  return ({ jti, accountId, transient, exp }: Session): SessionRenewal => {
    const id = randomBytes(32).toString('base64url');
    return {
      async store(tx) {
        const { numAffectedRows } = await sql`update artifacts set artifact_id = ${sha256(id)}
          where kind = 'Session' and artifact_id = ${sha256(jti)} and account_id = ${accountId ?? null}`.execute(tx);
        return numAffectedRows === 1n;
      },
      send(ctx) {
        ctx.cookies.set(provider().cookieName('session'), id, {
          ...shortCookie(issuer),
          path: '/',
          // as the library sets it: without this, the cookie ends with the browser
          ...(transient !== true && exp !== undefined && { expires: new Date(exp * 1_000) }),
        });
      },
    };
  };
}
