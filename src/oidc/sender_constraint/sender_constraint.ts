/**
 * Sender-constrained tokens (DPoP, RFC 9449; mTLS, RFC 8705) for this server's own grants, as the library does it for
 * its own.
 */
import type { Context } from 'koa';
import type { AccessToken, KoaContextWithOIDC, Provider } from 'oidc-provider';
import { checkDpopReplay, checkMtlsCert, validateDpop } from '../provider/library_internals.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/**
 * Binds the token to the key that the request proves. Resolves to a function that marks the proof as used; call it
 * after all other checks.
 */
export async function bindToSender(ctx: KoaContextWithOIDC, token: AccessToken): Promise<() => Promise<void>> {
  const { provider, client } = ctx.oidc;
  const certificate = checkMtlsCert(provider, ctx);
  if (certificate) token.setThumbprint('x5t', certificate as string);
  const proof = await validateDpop(provider, ctx);
  if (proof) token.setThumbprint('jkt', proof.thumbprint);
  return () => checkDpopReplay(provider, ctx, proof, client!.clientId);
}

/**
 * Verifies the DPoP proof of a request that the library doesn't serve; the proof must name the token, the method and
 * the address. Resolves to the thumbprint of the key (RFC 7638); throws the library's errors.
 */
export async function validateProofAt(
  provider: Provider,
  ctx: Context,
  token: string,
  addressOf: (ctx: KoaContextWithOIDC) => string,
): Promise<string | undefined> {
  // the part of the library's context that the helper reads
  const served = oidcContextOf(Object.create(ctx) as object);
  Object.defineProperty(served, 'oidc', { value: { provider, route: 'userinfo', urlFor: () => addressOf(served) } });
  return (await validateDpop(provider, served, token))?.thumbprint;
}

/**
 * Refuses unless the new token is bound to the same key as the presented one (`cnf`, RFC 7800): a client that can't
 * prove that key has obtained the token from another client. An unknown member of `cnf` is refused, because the server
 * can't verify its proof.
 */
export function requireSameKey(cnf: unknown, token: AccessToken, refuse: (reason: string) => never): void {
  if (cnf === undefined) return;
  const proven: Readonly<Record<string, unknown>> = { jkt: token.jkt, 'x5t#S256': token['x5t#S256'] };
  const bound = typeof cnf === 'object' && cnf !== null ? Object.entries(cnf) : [];
  if (bound.length > 0 && bound.every(([member, value]) => typeof value === 'string' && proven[member] === value)) {
    return;
  }
  refuse('it is bound to a key; prove possession of that key with this request');
}
