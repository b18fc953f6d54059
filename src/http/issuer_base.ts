/** Pins a Koa application to its issuer: its host, its scheme and, where the issuer has one, its path. */
import type Koa from 'koa';

/**
 * Every URL that the application makes starts with the issuer, whatever Host or X-Forwarded-* say. Requests outside the
 * issuer's path are not ours, but for the metadata that RFC 8414 (3.1) puts in front of it.
 */
export function pinToIssuer(app: Koa, issuer: string): Koa.Middleware {
  const { protocol, host, pathname } = new URL(issuer);
  Object.defineProperties(app.request, {
    protocol: { get: () => protocol.slice(0, -1) },
    host: { get: () => host },
  });
  const prefix = pathname.replace(/\/$/, '');
  const secure = protocol === 'https:';
  // RFC 8414 puts the name before the issuer's path for both; OpenID Connect Discovery also knows it behind
  const metadata = new Map(
    ['oauth-authorization-server', 'openid-configuration'].map((name) => [
      `/.well-known/${name}${prefix}`,
      `/.well-known/${name}`,
    ]),
  );
  // RFC 9728 has this one in front of the path too, and more of the path behind
  const ofResources = '/.well-known/oauth-protected-resource';
  return (ctx, next) => {
    if (!hasPath(ctx)) {
      ctx.status = 400;
      ctx.body = { error: 'invalid_request', error_description: 'the request target is not a path' };
      return undefined;
    }
    // two years, as browsers ask for before they keep it for good (RFC 6797)
    if (secure) ctx.set('Strict-Transport-Security', 'max-age=63072000');
    if (prefix === '') return next();
    const document = metadata.get(ctx.path);
    if (document) ctx.path = document;
    else if (ctx.path.startsWith(`${ofResources}${prefix}/`))
      ctx.path = ofResources + ctx.path.slice(ofResources.length + prefix.length);
    else if (ctx.path === prefix || ctx.path.startsWith(`${prefix}/`)) ctx.path = ctx.path.slice(prefix.length) || '/';
    else return undefined;
    return next();
  };
}

/** A request may name its target by a whole URL (RFC 9112, 3.2.2), and that one may not be one: `GET http://[/`. */
function hasPath(ctx: Koa.Context): boolean {
  const { url = '' } = ctx.req;
  if (!/^[/*]/.test(url) && !URL.canParse(url)) return false;
  try {
    return Boolean(ctx.path);
  } catch {
    return false;
  }
}
