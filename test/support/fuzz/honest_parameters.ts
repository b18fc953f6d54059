/** What each route of the protocol would take. */
import { CHALLENGE } from '../client/authorization_request.ts';
import { PASSKEY_OPTIONS, type Form } from '../person/forms.ts';
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

/** What a person types, mostly so that nothing is changed: a change ends the session of the next requests. */
const TYPED: Readonly<Record<string, readonly string[]>> = {
  email: ['demo@example.com'],
  password: ['wrong'],
  new_password: ['too short', '123456789012345', 'a password of thirteen words'],
  new_email: ['other@example.com', 'demo@example.com', 'other'],
  name: ['A name', ''],
  recovery_code: ['7K3M-9QWE-2RTY-XC4V-H8ND-0PJB'],
};
/** Their forms end the session of the browser, or change what later requests need. */
const ENDING = /\/(end|end-others|end-all|remove|forget|delete|take-back|recovery-codes|rename)$/;
const HONEST_ENDINGS = 0.1;

/** What the route's honest caller would send. */
export function honestParameters(random: Random, path: string, means: Means): Pairs {
  const forms = means.forms.get(path);
  if (forms && random.chance(0.9)) return fromForm(random, path, random.pick(forms), means);
  return protocolParameters(random, path, means);
}

function fromForm(random: Random, path: string, form: Form, { passkey, authenticator }: Means): Pairs {
  const options = form.find(([name]) => name === PASSKEY_OPTIONS)?.[1][0];
  return form.flatMap(([name, values]): Pairs => {
    if (name === PASSKEY_OPTIONS) return [];
    if (name === 'form_token' && ENDING.test(path) && !random.chance(HONEST_ENDINGS)) return [[name, 'x']];
    if (options !== undefined && name === 'passkey') return [[name, bent(random, passkey?.get(options) ?? '{}')]];
    if (options !== undefined && name === 'registration')
      return [[name, bent(random, passkey?.create(options) ?? '{}')]];
    if (name === 'code') return [[name, random.chance(0.2) ? (authenticator?.code() ?? '') : '000000']];
    return [[name, random.pick(TYPED[name] ?? values)]];
  });
}

/** Changes some bytes within the answer of a passkey, or one of its members. */
function bent(random: Random, answer: string): string {
  const parsed = JSON.parse(answer) as { response?: Record<string, unknown> };
  const { response } = parsed;
  if (!response || random.chance(0.05)) return answer;
  const member = random.pick(Object.keys(response));
  const bytes = Buffer.from(String(response[member]), 'base64url');
  for (let times = 1 + random.below(3); times > 0 && bytes.length > 0; times--)
    bytes[random.below(bytes.length)] = random.below(256);
  const other = random.pick<unknown>([bytes.toString('base64url'), bytes.subarray(0, 40).toString('base64url'), '', 7]);
  response[member] = random.chance(0.8) ? bytes.toString('base64url') : other;
  return JSON.stringify(parsed);
}

function protocolParameters(random: Random, path: string, { target }: Means): Pairs {
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
