/** The cookies of sessions and interactions, for the library and for what we set beside it. */
import type { Configuration } from 'oidc-provider';
import type { CookieSignatures } from '../../http/cookie_signatures.ts';

/**
 * `__Host-` keeps the session cookie to this very host. The two of an interaction live under its own path, so that two
 * tabs can sign in side by side, and `__Host-` would demand the path `/`.
 */
export function cookies(issuer: string, signatures: CookieSignatures) {
  const secure = issuer.startsWith('https:');
  const common = shortCookie(issuer);
  return {
    keys: signatures,
    names: {
      session: secure ? '__Host-gatehouse_session' : 'gatehouse_session',
      interaction: secure ? '__Secure-gatehouse_interaction' : 'gatehouse_interaction',
      resume: secure ? '__Secure-gatehouse_resume' : 'gatehouse_resume',
    },
    long: { ...common, path: '/' },
    short: common,
  } satisfies Configuration['cookies'];
}

/** What every cookie of ours has in common. */
export function shortCookie(issuer: string) {
  return {
    httpOnly: true,
    sameSite: 'lax',
    secure: issuer.startsWith('https:'),
    signed: true,
    overwrite: true,
  } as const;
}
