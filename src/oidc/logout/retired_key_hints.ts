/**
 * Logout requests whose `id_token_hint` was signed with a key that is no longer published: people stay logged in to an
 * application for longer than a signing key is published. Such a hint can't be verified, and is treated as absent
 * (RP-Initiated Logout, 4, leaves this to the server). The server asks the person to confirm as always, and redirects
 * to the application only if `client_id` names it.
 */
import type { Provider } from 'oidc-provider';
import { decodeJwt, decodeProtectedHeader, type JWK } from 'jose';

/**
 * Adds the middleware to a provider; call it for each new provider. `path` is the logout endpoint's path, `jwks` are
 * the published keys.
 */
export function acceptRetiredKeyHints(provider: Provider, path: string, jwks: readonly JWK[]): void {
  const kids = new Set(jwks.map(({ kid }) => kid));
  const isSignedWithRetiredKey = (hint: string, clientId: unknown): boolean => {
    try {
      const { kid } = decodeProtectedHeader(hint);
      const { iss, aud } = decodeJwt(hint);
      if (iss !== provider.issuer || typeof aud !== 'string') return false;
      return kid !== undefined && !kids.has(kid) && (clientId === undefined || clientId === aud);
    } catch {
      return false;
    }
  };
  provider.use((ctx, next) => {
    const { id_token_hint: hint, ...rest } = ctx.method === 'GET' && ctx.path === path ? ctx.query : {};
    if (typeof hint === 'string' && isSignedWithRetiredKey(hint, rest['client_id'])) ctx.query = rest;
    return next();
  });
}
