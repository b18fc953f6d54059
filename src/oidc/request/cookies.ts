/** The cookies of sessions and interactions, for the library and for the server's own pages. */
import type { Configuration } from 'oidc-provider';
import type { CookieSignatures } from '../../http/cookie_signatures.ts';

/**
 * The library's cookie configuration. The prefix `__Host-` restricts the session cookie to this host. The two
 * interaction cookies are set for the interaction's path, so that a person can log in in two tabs at once; `__Host-`
 * would require the path `/`.
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

/** The attributes that all cookies of this server share. */
export function shortCookie(issuer: string) {
  return {
    httpOnly: true,
    sameSite: 'lax',
    secure: issuer.startsWith('https:'),
    signed: true,
    overwrite: true,
  } as const;
}
