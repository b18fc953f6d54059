/** The JWKS endpoint: the library makes the set of public keys; caches may keep it. */
import { createHash } from 'node:crypto';
import type Koa from 'koa';
import { ROUTES } from '../request/routes.ts';

/** Adds the caching headers to an answer of the JWKS endpoint, and leaves other answers alone. */
export function makeJwksCacheable(ctx: Koa.Context, maxAgeSeconds: number): void {
  if (ctx.path !== ROUTES.jwks || ctx.status !== 200) return;
  ctx.set('Cache-Control', `public, max-age=${maxAgeSeconds}`);
  ctx.set('ETag', `"${createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url').slice(0, 27)}"`);
  if (ctx.fresh) ctx.status = 304;
}
