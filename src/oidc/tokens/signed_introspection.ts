/** Introspection answers that are signed (RFC 9701): evidence that a resource server can keep, of what it was told and when. */
import type { Client, KoaContextWithOIDC, Provider } from 'oidc-provider';

export const INTROSPECTION_JWT = 'application/token-introspection+jwt';

/** The library's maker of what it signs for a client: `iss`, `aud`, `iat`, the type and the client's algorithm are its work. */
type Signer = new (
  available: object,
  context: { readonly ctx: KoaContextWithOIDC; readonly client: Client | undefined },
) => {
  extra: object;
  issue(how: { readonly use: 'introspection' }): Promise<string>;
};

/** Signs the answer that is in the context's body, where the caller asked for it that way. */
export async function signIntrospection(ctx: KoaContextWithOIDC): Promise<void> {
  if (ctx.accepts('json', INTROSPECTION_JWT) !== INTROSPECTION_JWT) return;
  const { provider, client } = ctx.oidc;
  const { IdToken } = provider as unknown as Omit<Provider, 'IdToken'> & { readonly IdToken: Signer };
  const token = new IdToken({}, { ctx, client });
  token.extra = { token_introspection: ctx.body };
  ctx.body = await token.issue({ use: 'introspection' });
  ctx.type = INTROSPECTION_JWT;
}
