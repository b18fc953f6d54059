/**
 * Signed introspection answers (RFC 9701). A resource server can keep one as evidence of the token's state at that
 * time.
 */
import type { Client, KoaContextWithOIDC, Provider } from 'oidc-provider';

export const INTROSPECTION_JWT = 'application/token-introspection+jwt';

/**
 * The library's class for JWTs that it signs for a client. It sets `iss`, `aud`, `iat`, `typ` and the client's
 * algorithm.
 */
type Signer = new (
  available: object,
  context: { readonly ctx: KoaContextWithOIDC; readonly client: Client | undefined },
) => {
  extra: object;
  issue(how: { readonly use: 'introspection' }): Promise<string>;
};

/** Replaces the context's body with a signed JWT, if the caller asked for one with `Accept`. */
export async function signIntrospection(ctx: KoaContextWithOIDC): Promise<void> {
  if (ctx.accepts('json', INTROSPECTION_JWT) !== INTROSPECTION_JWT) return;
  const { provider, client } = ctx.oidc;
  const { IdToken } = provider as unknown as Omit<Provider, 'IdToken'> & { readonly IdToken: Signer };
  const token = new IdToken({}, { ctx, client });
  token.extra = { token_introspection: ctx.body };
  ctx.body = await token.issue({ use: 'introspection' });
  ctx.type = INTROSPECTION_JWT;
}
