/**
 * Binds a token to the key that its request proves (DPoP, RFC 9449; mTLS, RFC 8705), for grants of our own, as the
 * library does it for its own.
 */
import type { Context } from 'koa';
import type { AccessToken, KoaContextWithOIDC, Provider } from 'oidc-provider';
import { checkDpopReplay, checkMtlsCert, validateDpop } from '../provider/library_internals.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/** Binds the token, and answers with what uses up the proof: to be called once nothing else can be wrong. */
export async function bindToSender(ctx: KoaContextWithOIDC, token: AccessToken): Promise<() => Promise<void>> {
  const { provider, client } = ctx.oidc;
  const certificate = checkMtlsCert(provider, ctx);
  if (certificate) token.setThumbprint('x5t', certificate as string);
  const proof = await validateDpop(provider, ctx);
  if (proof) token.setThumbprint('jkt', proof.thumbprint);
  return () => checkDpopReplay(provider, ctx, proof, client!.clientId);
}

/**
 * Verifies the DPoP proof of a request that the library doesn't serve, which names the token, its method and its address.
 * Answers with the thumbprint of the key (RFC 7638); throws the library's errors.
 */
export async function validateProofAt(
  provider: Provider,
  ctx: Context,
  token: string,
  addressOf: (ctx: KoaContextWithOIDC) => string,
): Promise<string | undefined> {
  // as much of the library's context as the helper looks at
  const served = oidcContextOf(Object.create(ctx) as object);
  Object.defineProperty(served, 'oidc', { value: { provider, route: 'userinfo', urlFor: () => addressOf(served) } });
  return (await validateDpop(provider, served, token))?.thumbprint;
}

/**
 * Refuses unless the new token is bound to the same key as the one it is made from (`cnf`, RFC 7800): whoever can't
 * prove the key has that token from somebody else. A member that we don't know is a proof that we can't ask for.
 */
export function demandSameSender(cnf: unknown, token: AccessToken, refuse: (reason: string) => never): void {
  if (cnf === undefined) return;
  const proven: Readonly<Record<string, unknown>> = { jkt: token.jkt, 'x5t#S256': token['x5t#S256'] };
  const bound = typeof cnf === 'object' && cnf !== null ? Object.entries(cnf) : [];
  if (bound.length > 0 && bound.every(([member, value]) => typeof value === 'string' && proven[member] === value)) {
    return;
  }
  refuse('it is bound to a key that this request does not prove');
}
