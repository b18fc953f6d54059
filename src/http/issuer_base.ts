/** Makes a Koa application use the host, scheme and path of the issuer. */
import type Koa from 'koa';

/**
 * Every URL that the application generates starts with the issuer, regardless of Host and X-Forwarded-*. Requests
 * outside the issuer's path get 404, except the metadata whose well-known path comes before the issuer's path (RFC
 * 8414, 3.1).
 */
export function pinToIssuer(app: Koa, issuer: string): Koa.Middleware {
  const { protocol, host, pathname } = new URL(issuer);
  Object.defineProperties(app.request, {
    protocol: { get: () => protocol.slice(0, -1) },
    host: { get: () => host },
  });
  const prefix = pathname.replace(/\/$/, '');
  const secure = protocol === 'https:';
  // RFC 8414 puts the well-known path before the issuer's path for both documents; OpenID Connect Discovery also allows
  // it after
  const metadata = new Map(
    ['oauth-authorization-server', 'openid-configuration'].map((name) => [
      `/.well-known/${name}${prefix}`,
      `/.well-known/${name}`,
    ]),
  );
  // browsers look for it at the host itself (A Well-Known URL for Changing Passwords, W3C)
  metadata.set('/.well-known/change-password', '/.well-known/change-password');
  // RFC 9728 also puts this path before the issuer's path, and the resource's path after it
  const ofResources = '/.well-known/oauth-protected-resource';
  return (ctx, next) => {
    if (!hasPath(ctx)) {
      ctx.status = 400;
      ctx.body = { error: 'invalid_request', error_description: 'the request target is not a path' };
      return undefined;
    }
    // two years, as the preload lists of browsers recommend (RFC 6797)
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

/**
 * A client may send an absolute URL as request target (RFC 9112, 3.2.2), and it may be invalid, such as `GET
 * http://[/`.
 */
function hasPath(ctx: Koa.Context): boolean {
  const { url = '' } = ctx.req;
  if (!/^[/*]/.test(url) && !URL.canParse(url)) return false;
  try {
    return Boolean(ctx.path);
  } catch {
    return false;
  }
}
