/**
 * Endpoints that only programs call: they answer errors as JSON (RFC 6749, 5.2) and ignore the Accept header, because
 * some HTTP libraries send `Accept: text/html` with each request.
 */
import type { Middleware } from 'koa';

/** `paths` are relative to the issuer. */
export function answerInJson(paths: readonly string[]): Middleware {
  const atPath = new Set(paths);
  return (ctx, next) => {
    if (atPath.has(ctx.path)) {
      const { request } = ctx;
      const accepts = request.accepts.bind(request) as (...types: string[]) => string | string[] | false;
      const withoutPages = (...types: string[]) => accepts(...types.filter((type) => type !== 'html'));
      Object.assign(request, { accepts: withoutPages });
    }
    return next();
  };
}
