/** Introspection answers that are signed (RFC 9701): evidence that a resource server can keep, of what it was told and when. */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { internalsOf } from '../provider/library_types.ts';

export const INTROSPECTION_JWT = 'application/token-introspection+jwt';

/** Signs the answer that is in the context's body, where the caller asked for it that way. */
export async function signIntrospection(ctx: KoaContextWithOIDC): Promise<void> {
  if (ctx.accepts('json', INTROSPECTION_JWT) !== INTROSPECTION_JWT) return;
  const { provider, client } = ctx.oidc;
  const { IdToken } = internalsOf(provider);
  const token = new IdToken({}, { ctx, client });
  token.extra = { token_introspection: ctx.body };
  ctx.body = await token.issue({ use: 'introspection' });
  ctx.type = INTROSPECTION_JWT;
}
