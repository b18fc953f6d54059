/** The paths of the protocol's endpoints below the issuer's path, and their methods. */
import { JWKS_PATH, ML_DSA_JWKS_PATH } from '../../base/signing_algs.ts';
import { USERINFO_PATH } from '../../resources/own_identifiers.ts';

export const ROUTES = {
  authorization: '/authorize',
  pushed_authorization_request: '/par',
  token: '/token',
  introspection: '/introspect',
  revocation: '/revoke',
  userinfo: USERINFO_PATH,
  jwks: JWKS_PATH,
  end_session: '/logout',
  device_authorization: '/device_authorization',
  code_verification: '/device',
  backchannel_authentication: '/backchannel_authentication',
} as const;

/** Endpoints that only programs call: they answer errors as JSON, never as a page. */
export const JSON_ENDPOINTS: readonly string[] = [
  ROUTES.pushed_authorization_request,
  ROUTES.token,
  ROUTES.introspection,
  ROUTES.revocation,
  ROUTES.userinfo,
  ROUTES.jwks,
  ML_DSA_JWKS_PATH,
  ROUTES.device_authorization,
  ROUTES.backchannel_authentication,
  '/register',
];

/** The permitted methods by path, for the `Allow` header. */
export const METHODS: Readonly<Record<string, readonly string[]>> = {
  [ROUTES.authorization]: ['GET', 'POST'],
  [ROUTES.pushed_authorization_request]: ['POST', 'OPTIONS'],
  [ROUTES.token]: ['POST', 'OPTIONS'],
  [ROUTES.introspection]: ['POST', 'OPTIONS'],
  [ROUTES.revocation]: ['POST', 'OPTIONS'],
  [ROUTES.userinfo]: ['GET', 'POST', 'OPTIONS'],
  [ROUTES.jwks]: ['GET', 'OPTIONS'],
  [ML_DSA_JWKS_PATH]: ['GET', 'OPTIONS'],
  [ROUTES.end_session]: ['GET', 'POST'],
  [ROUTES.device_authorization]: ['POST', 'OPTIONS'],
  [ROUTES.code_verification]: ['GET', 'POST'],
  [ROUTES.backchannel_authentication]: ['POST'],
  '/register': ['POST', 'OPTIONS'],
  '/.well-known/openid-configuration': ['GET', 'OPTIONS'],
  '/.well-known/oauth-authorization-server': ['GET', 'OPTIONS'],
};
