/** Answers requests that no other middleware has answered: 404, or 405 if the path exists with other methods. */
import type { Context, Middleware } from 'koa';

export interface NotFoundSettings {
  /** The paths that exist, each with the methods that it allows. */
  readonly methods: Readonly<Record<string, readonly string[]>>;
  /** Renders the page for browsers. */
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
      : { error: 'not_found', error_description: 'no resource exists at this path' };
  };
}
