/**
 * A login for a page of our own. It takes the same way as one for an application, through an interaction and back to the
 * library, which logs the session in; there an interaction without a client comes to an end, and the browser goes on to
 * the page that it was for.
 */
import { randomBytes } from 'node:crypto';
import type { Context } from 'koa';
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { shortCookie } from './cookies.ts';
import { internalsOf } from '../provider/library_types.ts';

export type Session = Awaited<ReturnType<Provider['Session']['get']>>;

export const INTERACTION_SECONDS = 1_800;

/** Sends the browser to log in, or the person whose session it is to confirm that it's them, and then to `page`. */
export function loginForOwnPages({ issuer, provider }: { readonly issuer: string; readonly provider: () => Provider }) {
  const mountPath = new URL(issuer).pathname.replace(/\/$/, '');
  return async (ctx: Context, page: string, session: Session): Promise<void> => {
    const uid = randomBytes(32).toString('base64url');
    const returnPath = provider().pathFor('resume', { uid, mountPath });
    const { Interaction } = internalsOf(provider());
    await new Interaction(uid, {
      returnTo: new URL(returnPath, issuer).href,
      prompt: { name: 'login', reasons: ['own_page'], details: { page } },
      params: {},
      session,
    }).save(INTERACTION_SECONDS);
    const interactionPath = `${mountPath}/interaction/${uid}`;
    const options = { ...shortCookie(issuer), maxAge: INTERACTION_SECONDS * 1_000 };
    ctx.cookies.set(provider().cookieName('interaction'), uid, { ...options, path: interactionPath });
    ctx.cookies.set(provider().cookieName('resume'), uid, { ...options, path: returnPath });
    ctx.status = 303;
    ctx.redirect(interactionPath);
  };
}

/** Where a login that has just been made was for, if it was for a page of ours. */
export function ownPageOf({ oidc }: KoaContextWithOIDC): string | undefined {
  if (oidc.route !== 'resume' || !oidc.result?.login) return undefined;
  const page = oidc.entities.Interaction?.prompt.details['page'];
  return typeof page === 'string' ? page : undefined;
}
