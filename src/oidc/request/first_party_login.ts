/**
 * Login for the server's own pages. It uses the same interaction as a login for an application. The interaction has no
 * client, so the library only logs the session in, and the server then redirects the browser to the page.
 */
import { randomBytes } from 'node:crypto';
import type { Context } from 'koa';
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { shortCookie } from './cookies.ts';
import { internalsOf } from '../provider/library_types.ts';

export type Session = Awaited<ReturnType<Provider['Session']['get']>>;

export const INTERACTION_SECONDS = 1_800;

/**
 * Sends the browser to the login page, then to `page`. If `session` belongs to a person already, that person must
 * confirm their identity. `strongest`: the login must be with the strongest factor of the account. `enrols`: the page adds
 * factors.
 */
export function loginForOwnPages({ issuer, provider }: { readonly issuer: string; readonly provider: () => Provider }) {
  const mountPath = new URL(issuer).pathname.replace(/\/$/, '');
  return async (
    ctx: Context,
    page: string,
    session: Session,
    { strongest = false, enrols = false } = {},
  ): Promise<void> => {
    const uid = randomBytes(32).toString('base64url');
    const returnPath = provider().pathFor('resume', { uid, mountPath });
    const { Interaction } = internalsOf(provider());
    await new Interaction(uid, {
      returnTo: new URL(returnPath, issuer).href,
      prompt: {
        name: 'login',
        reasons: ['own_page'],
        details: { page, ...(strongest && { strongest }), ...(enrols && { enrols }) },
      },
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

/** The page to redirect to, if the request has just completed a login for one of the server's own pages. */
export function ownPageOf({ oidc }: KoaContextWithOIDC): string | undefined {
  if (oidc.route !== 'resume' || !oidc.result?.login) return undefined;
  const page = oidc.entities.Interaction?.prompt.details['page'];
  return typeof page === 'string' ? page : undefined;
}
