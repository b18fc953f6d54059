/**
 * Logouts by applications that people stay logged in to for longer than a signing key is published. Their `id_token_hint`
 * can't be verified any more, which is no fault of theirs: it counts as if it had not been sent, as RP-Initiated Logout
 * (4) leaves to us. The person is asked as always, and led back only where `client_id` says whose URI it is.
 */
import type { Provider } from 'oidc-provider';
import { decodeJwt, decodeProtectedHeader, type JWK } from 'jose';

/** `path` is the logout endpoint's. Call it for each provider that is built. */
export function acceptRetiredKeyHints(provider: Provider, path: string, jwks: readonly JWK[]): void {
  const kids = new Set(jwks.map(({ kid }) => kid));
  const isOutlived = (hint: string, clientId: unknown): boolean => {
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
    if (typeof hint === 'string' && isOutlived(hint, rest['client_id'])) ctx.query = rest;
    return next();
  });
}
