/**
 * Signed introspection answers (RFC 9701). A resource server can keep one as evidence of the token's state at that
 * time.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { internalsOf } from '../provider/library_types.ts';

export const INTROSPECTION_JWT = 'application/token-introspection+jwt';

/** Replaces the context's body with a signed JWT, if the caller asked for one with `Accept`. */
export async function signIntrospection(ctx: KoaContextWithOIDC): Promise<void> {
  if (ctx.accepts('json', INTROSPECTION_JWT) !== INTROSPECTION_JWT) return;
  const { provider, client } = ctx.oidc;
  const { IdToken } = internalsOf(provider);
  const token = new IdToken({}, { ctx, client });
  token.extra = { token_introspection: ctx.body };
  ctx.body = await token.issue({ use: 'introspection' });
  ctx.type = INTROSPECTION_JWT;
}
