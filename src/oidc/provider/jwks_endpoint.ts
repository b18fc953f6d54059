/**
 * Publishes the keys that verify what this server signs (RFC 7517), as two sets. Many verifiers refuse a whole set for
 * one key of a type that they do not know, so ML-DSA keys are in a set of their own, for the resources that name them.
 * Answers without the database.
 */
import { createHash } from 'node:crypto';
import type { Context, Middleware } from 'koa';
import { isMlDsa, ML_DSA_JWKS_PATH } from '../../base/signing_algs.ts';
import type { KeyRing } from '../../keys/key_ring.ts';
import { METHODS, ROUTES } from '../request/routes.ts';

export interface KeySetsSettings {
  readonly ring: KeyRing;
  readonly jwksMaxAgeSeconds: number;
}

export function publishKeys({ ring, jwksMaxAgeSeconds }: KeySetsSettings): Middleware {
  const isInSet: Readonly<Record<string, (alg: unknown) => boolean>> = {
    [ROUTES.jwks]: (alg) => !isMlDsa(alg),
    [ML_DSA_JWKS_PATH]: isMlDsa,
  };
  return (ctx, next) => {
    const belongs = Object.hasOwn(isInSet, ctx.path) ? isInSet[ctx.path] : undefined;
    if (!belongs || !METHODS_HERE.has(ctx.method)) return next();
    // no cookie and no secret is involved, so pages of any origin may read the keys
    ctx.set('Access-Control-Allow-Origin', '*');
    if (ctx.method === 'OPTIONS') {
      answerOptions(ctx);
      return;
    }
    const keys = ring.publicJwks.filter(({ alg }) => belongs(alg));
    ctx.body = { keys };
    ctx.type = 'application/jwk-set+json; charset=utf-8';
    ctx.set('Cache-Control', `public, max-age=${jwksMaxAgeSeconds}`);
    ctx.set('ETag', `"${createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url').slice(0, 27)}"`);
    if (ctx.fresh) ctx.status = 304;
  };
}

const METHODS_HERE = new Set(['GET', 'HEAD', 'OPTIONS']);
const CORS_MAX_AGE_SECONDS = '3600';

function answerOptions(ctx: Context): void {
  ctx.status = 204;
  ctx.set({
    Allow: METHODS[ctx.path]!.join(', '),
    'Access-Control-Allow-Methods': 'GET',
    'Access-Control-Allow-Headers': ctx.get('Access-Control-Request-Headers') || '*',
    'Access-Control-Max-Age': CORS_MAX_AGE_SECONDS,
  });
}
