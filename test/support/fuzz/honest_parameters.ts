/** What each route of the protocol would take. */
import { CHALLENGE } from '../client/authorization_request.ts';
import type { Random } from './random.ts';
import type { Means } from './target.ts';
import { jwtLike } from './values.ts';

export type Pairs = [name: string, value: string][];

const GRANTS = [
  'client_credentials',
  'authorization_code',
  'refresh_token',
  'urn:ietf:params:oauth:grant-type:device_code',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
  'urn:openid:params:grant-type:ciba',
];

/** What the route's honest caller would send. */
export function honestParameters(random: Random, path: string, { target }: Means): Pairs {
  const { clientId, redirectUri } = target;
  if (path === '/authorize' || path === '/par') {
    const request: Pairs = [
      ['response_type', 'code'],
      ['redirect_uri', redirectUri],
      ['scope', 'openid'],
      ['state', 's'],
      ['code_challenge', CHALLENGE],
      ['code_challenge_method', 'S256'],
    ];
    return [
      ['client_id', clientId],
      ...request,
      ...(random.chance(0.2) ? ([['request', jwtLike(random, { iss: clientId, client_id: clientId })]] as Pairs) : []),
    ];
  }
  if (path === '/token') {
    const assertion: Pairs = [
      ['client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'],
      ['client_assertion', jwtLike(random, { iss: clientId, sub: clientId })],
    ];
    return [
      ['grant_type', random.pick(GRANTS)],
      ['redirect_uri', redirectUri],
      ['code', 'x'],
      ['code_verifier', 'v'.repeat(43)],
      ['refresh_token', 'x'],
      ['device_code', 'x'],
      ...(random.chance(0.3) ? assertion : []),
    ];
  }
  if (path === '/backchannel_authentication')
    return [
      ['scope', 'openid'],
      ['login_hint', 'demo@example.com'],
      ['binding_message', 'Till 4'],
      ['requested_expiry', '60'],
      ...(random.chance(0.2) ? ([['request', jwtLike(random, { iss: clientId })]] as Pairs) : []),
    ];
  if (path.startsWith('/approve'))
    return [
      ['form_token', 'x'],
      ['decision', 'approve'],
    ];
  if (path.startsWith('/logout'))
    return [
      ['client_id', clientId],
      ['id_token_hint', jwtLike(random, { aud: clientId })],
      ['state', 's'],
      ['xsrf', 'x'],
      ['logout', 'yes'],
    ];
  if (path.startsWith('/device'))
    return [
      ['client_id', clientId],
      ['scope', 'openid'],
      ['user_code', 'BCDFG-HJKLM'],
      ['xsrf', 'x'],
      ['confirm', 'yes'],
    ];
  if (path.startsWith('/interaction'))
    return [
      ['email', 'demo@example.com'],
      ['password', 'wrong'],
      ['decision', 'allow'],
      ['remember', 'on'],
    ];
  if (path.startsWith('/account'))
    return [
      ['form_token', 'x'],
      ['session_id', 'x'],
      ['client_id', clientId],
    ];
  return [
    ['token', jwtLike(random)],
    ['token_type_hint', 'access_token'],
    ['client_id', clientId],
  ];
}
