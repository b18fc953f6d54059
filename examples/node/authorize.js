import { createRemoteJWKSet, jwtVerify } from 'jose';

/** Decides about requests to an API, from the tokens that they carry. */
export function createAuthorize({ issuer, audience }) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));

  /** 200 with the token's claims, 401 without a good token, 403 where the scope is missing. */
  return async function authorize(request, scope) {
    const [scheme, token] = (request.headers.authorization ?? '').split(' ');
    if (scheme?.toLowerCase() !== 'bearer' || !token) return { status: 401 };
    try {
      const { payload } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] });
      if (payload.cnf) return { status: 401 }; // bound to a key: no bearer token
      const granted = String(payload.scope ?? '').split(' ');
      return granted.includes(scope) ? { status: 200, claims: payload } : { status: 403 };
    } catch {
      return { status: 401 };
    }
  };
}
