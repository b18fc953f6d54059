/**
 * POST requests from browsers: for authorization (OpenID Connect Core, 3.1.2.1) and for logout (RP-Initiated Logout,
 * 2). The session cookies are SameSite=Lax, so the browser sends none with a form from another site. The server
 * redirects the browser to the same request by GET, with which it sends them.
 */
import { errors, type Provider } from 'oidc-provider';
import type { Context } from 'koa';
import { readBody } from '../../http/body.ts';
import type { LibraryPages } from './page_interfaces.ts';
import { oidcContextOf } from './library_types.ts';

/** The URL length that browsers and servers support. A client can push a larger request (RFC 9126). */
const LONGEST_QUERY_CHARACTERS = 8_000;

/**
 * Adds the middleware to a provider; call it for each new provider. `path` is the endpoint's path below the issuer's.
 */
export function takePostedRequests(provider: Provider, path: string, { renderError }: LibraryPages): void {
  const prefix = new URL(provider.issuer).pathname.replace(/\/$/, '');
  provider.use(async (ctx, next) => {
    if (ctx.method !== 'POST' || ctx.path !== path) return next();
    ctx.set('Cache-Control', 'no-store');
    const query = await queryIn(ctx);
    if (query !== undefined) {
      ctx.status = 303;
      ctx.redirect(`${prefix}${path}?${query}`);
      return undefined;
    }
    const refusal = new errors.InvalidRequest(`send a form of at most ${LONGEST_QUERY_CHARACTERS} characters`);
    ctx.status = refusal.statusCode;
    const out = { error: refusal.error, error_description: refusal.error_description };
    if (ctx.accepts('json', 'html') === 'html') return renderError(oidcContextOf(ctx), out, refusal);
    ctx.body = out;
    return undefined;
  });
}

/** The form as a query string, with repeated parameters kept; `undefined` if the body is not a form or is too large. */
async function queryIn(ctx: Context): Promise<string | undefined> {
  if (!ctx.request.is('application/x-www-form-urlencoded') || ctx.get('Content-Encoding')) return undefined;
  const body = await readBody(ctx, LONGEST_QUERY_CHARACTERS).catch(() => undefined);
  const query = body && new URLSearchParams(body.toString('utf8')).toString();
  return query !== undefined && query.length <= LONGEST_QUERY_CHARACTERS ? query : undefined;
}
