/** The last word on requests that nobody answered: there is no such thing here, or not with this method. */
import type { Context, Middleware } from 'koa';

export interface NotFoundSettings {
  /** Paths that exist, each with the methods that it takes. */
  readonly methods: Readonly<Record<string, readonly string[]>>;
  /** Draws the page for browsers. */
  readonly page: (ctx: Context, status: number) => void;
}

export function notFound({ methods, page }: NotFoundSettings): Middleware {
  return (ctx) => {
    const allowed = Object.hasOwn(methods, ctx.path) ? methods[ctx.path] : undefined;
    const status = allowed ? 405 : 404;
    if (allowed) ctx.set('Allow', allowed.join(', '));
    if (ctx.accepts('json', 'html') === 'html') return page(ctx, status);
    ctx.status = status;
    ctx.set('Cache-Control', 'no-store');
    ctx.body = allowed
      ? { error: 'invalid_request', error_description: `use ${allowed.join(' or ')}` }
      : { error: 'not_found', error_description: 'there is nothing at this address' };
  };
}
