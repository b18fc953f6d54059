/** Sends browsers that came to another loopback address to the issuer, where cookies and redirect URIs are. */
import type { Middleware } from 'koa';

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
/** What a person opens; an API answers at each address. */
const PAGE = /^\/(?:$|(?:account|approve|authorize|device|interaction|logout|try-login)(?:\/|$))/;

/** For development: an issuer that is no loopback address redirects nothing. It comes after `pinToIssuer`. */
export function pagesAtIssuer(issuer: string): Middleware {
  const { hostname, port } = new URL(issuer);
  if (!LOOPBACK.test(hostname)) return (_ctx, next) => next();
  return (ctx, next) => {
    // not ctx.host, which is the issuer's whatever the request says
    const asked = URL.parse(`http://${ctx.req.headers.host ?? ''}`);
    const elsewhere = asked !== null && LOOPBACK.test(asked.hostname) && asked.hostname !== hostname;
    const isPage = (ctx.method === 'GET' || ctx.method === 'HEAD') && PAGE.test(ctx.path);
    if (!elsewhere || asked.port !== port || !isPage) return next();
    ctx.set('Cache-Control', 'no-store');
    ctx.redirect(issuer + ctx.url);
    return undefined;
  };
}
