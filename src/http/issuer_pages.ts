/** Redirects browsers from other loopback addresses to the issuer, because cookies and redirect URIs belong to it. */
import type { Middleware } from 'koa';
import { isLoopback } from '../base/loopback.ts';

/** Paths of pages; API endpoints answer at each address. */
const PAGE =
  /^\/(?:$|(?:account|approve|authorize|device|forgot-password|interaction|link|logout|mails|try-login)(?:\/|$))/;

/** For development: does nothing unless the issuer is a loopback address. Use it after `pinToIssuer`. */
export function pagesAtIssuer(issuer: string): Middleware {
  const { hostname, port } = new URL(issuer);
  if (!isLoopback(hostname)) return (_ctx, next) => next();
  return (ctx, next) => {
    // not ctx.host, because pinToIssuer sets it to the issuer's host
    const asked = URL.parse(`http://${ctx.req.headers.host ?? ''}`);
    const elsewhere = asked !== null && isLoopback(asked.hostname) && asked.hostname !== hostname;
    const isPage = (ctx.method === 'GET' || ctx.method === 'HEAD') && PAGE.test(ctx.path);
    if (!elsewhere || asked.port !== port || !isPage) return next();
    ctx.set('Cache-Control', 'no-store');
    ctx.redirect(issuer + ctx.url);
    return undefined;
  };
}
