/** Requests that are nearly right: each starts from one that its route would take, and has a few things wrong. */
import { basic } from '../code_flow.ts';
import type { Random } from './random.ts';
import type { Shot } from './shot.ts';
import type { Route, Target } from './target.ts';
import { certificateLike, deflateBomb, INJECTED_HEADER, jwtLike, nastyText, oddJson, slowKey } from './values.ts';

/** What a run has at hand to get further than the front door. */
export interface Means {
  readonly target: Target;
  readonly adminToken: string;
  readonly cookies: string;
  readonly interaction: string;
}

type Pairs = [name: string, value: string][];
type Header = readonly [name: string, value: string];

const FORM = 'application/x-www-form-urlencoded';
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
const GRANTS = [
  'client_credentials',
  'authorization_code',
  'refresh_token',
  'urn:ietf:params:oauth:grant-type:device_code',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
  'urn:openid:params:grant-type:ciba',
];
/** Every parameter of the protocol, for wherever it does not belong as well. */
const PARAMETERS = (
  'client_id client_secret client_assertion client_assertion_type response_type response_mode redirect_uri scope state nonce ' +
  'code code_verifier code_challenge code_challenge_method prompt max_age login_hint id_token_hint acr_values claims ui_locales ' +
  'request request_uri registration resource audience grant_type refresh_token device_code user_code token token_type_hint ' +
  'subject_token subject_token_type actor_token assertion authorization_details dpop_jkt iss post_logout_redirect_uri logout_hint ' +
  'xsrf logout form_token session_id email password decision remember auth_req_id binding_message client_notification_token ' +
  '__proto__ constructor a[b] a[] limit cursor q'
).split(' ');

export function aim(random: Random, means: Means): Shot {
  const route = random.pick(means.target.routes);
  const shot = route.admin ? atAdmin(random, route, means) : atProtocol(random, route, means);
  return random.chance(0.1) ? mangled(random, shot) : shot;
}

function atProtocol(random: Random, route: Route, means: Means): Shot {
  const path = fill(random, route.path, means.interaction);
  const parameters = spoil(random, goodParameters(random, route.path, means));
  const method = random.chance(0.05)
    ? random.pick(['PUT', 'DELETE', 'HEAD', 'TRACE', 'PROPFIND', 'OPTIONS'])
    : route.method;
  const text = asForm(random, parameters);
  const headers: Header[] = [...commonHeaders(random, means), ...authentication(random, means)];
  if (method !== 'POST') return { method, target: `${path}?${text}`, headers, body: Buffer.alloc(0) };
  const type = random.chance(0.1)
    ? random.pick([
        'application/json',
        'text/plain',
        'multipart/form-data',
        `${FORM}; charset=utf-7`,
        `${FORM}; charset=x`,
        '',
      ])
    : FORM;
  const body = random.chance(0.05) ? random.bytes(300) : Buffer.from(text);
  return withBody({ method, target: path, headers: [...headers, ['content-type', type]], body });
}

function atAdmin(random: Random, route: Route, means: Means): Shot {
  const query = random.chance(0.3)
    ? `?${asForm(
        random,
        spoil(random, [
          ['limit', '2'],
          ['q', 'x'],
        ]),
      )}`
    : '';
  const target = `${fill(random, route.path, 'client_x')}${query}`;
  const token = random.chance(0.1) ? nastyHeader(random) : means.adminToken;
  const headers: Header[] = [
    ['host', `127.0.0.1:${means.target.port}`],
    ['connection', 'close'],
    ['authorization', `Bearer ${token}`],
  ];
  for (const name of ['if-match', 'if-none-match', 'idempotency-key', 'accept']) {
    if (random.chance(0.1)) headers.push([name, nastyHeader(random)]);
  }
  if (route.method === 'GET' || route.method === 'DELETE')
    return { method: route.method, target, headers, body: Buffer.alloc(0) };
  // a rotation in an emergency would end the token that the rest of the run needs
  const json = jsonBody(random, route.example).replaceAll('"emergency":true', '"emergency":false');
  const type = random.chance(0.1)
    ? random.pick(['text/plain', 'application/json; charset=utf-16', 'application/xml'])
    : 'application/json';
  return withBody({
    method: route.method,
    target,
    headers: [...headers, ['content-type', type]],
    body: Buffer.from(json),
  });
}

/** What the route's honest caller would send. */
function goodParameters(random: Random, path: string, { target }: Means): Pairs {
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
      ['user_code', 'BCDF-GHJK'],
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

function spoil(random: Random, pairs: Pairs): Pairs {
  const spoiled: Pairs = [...pairs];
  for (let times = random.below(4); times > 0; times--) {
    const at = random.below(spoiled.length);
    const name = spoiled[at]?.[0] ?? 'x';
    const way = random.below(5);
    if (way === 0) spoiled.splice(at, 1);
    else if (way === 1) spoiled.push([name, nastyText(random)]);
    else if (way === 2) spoiled.push([random.pick(PARAMETERS), nastyText(random)]);
    else if (way === 3) spoiled.push([nastyText(random).slice(0, 200), nastyText(random)]);
    else spoiled[at] = [name, nastyText(random)];
  }
  return spoiled;
}

function asForm(random: Random, pairs: Pairs): string {
  const text = new URLSearchParams(pairs).toString();
  if (random.chance(0.95)) return text;
  return (
    text + random.pick(['&&&=', '&%', '&%zz=%', '&a[b][c]=1', '&=x', '&%ff%fe=%c0%80', `&${'a=1&'.repeat(2_000)}`])
  );
}

function commonHeaders(random: Random, { target, cookies }: Means): Header[] {
  const headers: Header[] = [
    ['host', random.chance(0.03) ? nastyHeader(random) : `127.0.0.1:${target.port}`],
    ['connection', 'close'],
    ['accept', random.pick(['text/html', 'application/json', '*/*', nastyHeader(random)])],
  ];
  if (random.chance(0.5)) headers.push(['cookie', random.chance(0.8) ? cookies : oddCookies(random, cookies)]);
  if (random.chance(0.3))
    headers.push(['origin', random.pick([`http://127.0.0.1:${target.port}`, 'null', nastyHeader(random)])]);
  if (random.chance(0.1))
    headers.push([
      random.pick([
        'x-forwarded-for',
        'x-forwarded-host',
        'x-forwarded-proto',
        'forwarded',
        'accept-language',
        'sec-fetch-site',
        'content-encoding',
        'expect',
        'x-request-id',
        'traceparent',
      ]),
      nastyHeader(random),
    ]);
  if (random.chance(0.1))
    headers.push([
      random.pick([
        'client-cert',
        'x-client-cert',
        'x-ssl-client-cert',
        'x-forwarded-client-cert',
        'ssl-client-cert',
        'client-cert-chain',
      ]),
      oneLine(certificateLike(random)),
    ]);
  if (random.chance(0.2))
    headers.push([
      'dpop',
      random.chance(0.8)
        ? jwtLike(random, { htm: 'POST', htu: `http://127.0.0.1:${target.port}/token` })
        : nastyHeader(random),
    ]);
  return headers;
}

function authentication(random: Random, { target, adminToken }: Means): Header[] {
  const { client_id, client_secret } = target.demo;
  const value = random.pick([
    undefined,
    basic(client_id, client_secret),
    basic(client_id, 'wrong'),
    `Basic ${Buffer.from(oneLine(nastyText(random))).toString('base64')}`,
    'Basic',
    'Basic ====',
    'Bearer',
    'Bearer ',
    `Bearer ${nastyHeader(random)}`,
    `Bearer ${jwtLike(random)}`,
    `Bearer ${adminToken} ${adminToken}`,
    `DPoP ${jwtLike(random)}`,
    `bEaReR ${deflateBomb()}`,
    slowKey(),
    nastyHeader(random),
  ]);
  return value === undefined ? [] : [['authorization', value.slice(0, 9_000)]];
}

function oddCookies(random: Random, cookies: string): string {
  const names = [
    'gatehouse_session',
    'gatehouse_session.sig',
    'gatehouse_interaction',
    'gatehouse_resume',
    '__proto__',
  ];
  const odd = Array.from({ length: random.below(5) }, () => `${random.pick(names)}=${nastyHeader(random)}`).join('; ');
  return random.chance(0.5) ? odd : `${cookies}; ${odd}`;
}

function jsonBody(random: Random, example: unknown): string {
  const way = random.below(10);
  if (way === 0)
    return random.pick([
      '',
      '{',
      'null',
      '[]',
      '"x"',
      '{"a":1,"a":2}',
      '{"__proto__":{}}',
      '[['.repeat(5_000),
      '{"a":'.repeat(5_000),
      '\ufeff{}',
      '1'.repeat(70_000),
    ]);
  if (way === 1) return JSON.stringify(oddJson(random, 5));
  if (typeof example !== 'object' || example === null)
    return JSON.stringify({ [nastyText(random).slice(0, 50)]: oddJson(random, 3) });
  const changed: Record<string, unknown> = { ...example };
  for (let times = random.below(4); times > 0; times--) {
    const member = random.chance(0.7)
      ? random.pick([
          ...Object.keys(changed),
          'redirect_uris',
          'jwks',
          'jwks_uri',
          'resources',
          'scope',
          'contacts',
          'backchannel_logout_uri',
        ])
      : nastyText(random).slice(0, 60);
    Object.defineProperty(changed, member, {
      value: oddJson(random, 3),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return JSON.stringify(changed);
}

function fill(random: Random, path: string, likely: string): string {
  return path.replaceAll(/\{\w+\}/g, () => {
    if (random.chance(0.4)) return likely;
    const text = nastyText(random).slice(0, 3_000);
    return random.chance(0.8) ? encodeURIComponent(text.toWellFormed()) : oneLine(text).replaceAll(' ', '');
  });
}

/** HTTP itself broken. */
function mangled(random: Random, shot: Shot): Shot {
  const { headers, body } = shot;
  const without = (name: string): Header[] => headers.filter(([one]) => one !== name);
  const ways: (() => Shot)[] = [
    () => ({
      ...shot,
      headers: [
        ...without('content-length'),
        ['content-length', random.pick(['-1', '9999', '1e3', '0x10', '', '5, 5'])],
      ],
      breaksOff: true,
    }),
    () => ({
      ...shot,
      headers: [
        ...without('content-length'),
        ['transfer-encoding', random.pick(['chunked', 'gzip, chunked', 'x', 'chunked, chunked'])],
      ],
      body: Buffer.concat([
        Buffer.from(
          random.pick(['', 'zz\r\n', '5\r\nab', 'ffffffffffffffff\r\n', '-1\r\n', '1;x=y\r\na\r\n0\r\nx: y\r\n\r\n']),
        ),
        body,
      ]),
      breaksOff: true,
    }),
    () => ({ ...shot, headers: [...headers, ['transfer-encoding', 'chunked']], breaksOff: true }),
    () => ({ ...shot, headers: [...headers, ['x-long', 'x'.repeat(20_000)]], breaksOff: true }),
    () => ({
      ...shot,
      headers: [...headers, ...Array.from({ length: 200 }, (_, index): Header => [`x-${index}`, 'y'])],
    }),
    () => ({ ...shot, headers: [...headers, ...headers], breaksOff: true }),
    () => ({
      ...shot,
      target: random.pick([
        '*',
        'http://[/',
        '//',
        '/%',
        '/%00',
        '/..%2f..',
        `/${'a/'.repeat(3_000)}`,
        '/\\..\\',
        `/${random
          .bytes(20)
          .toString('latin1')
          .replaceAll(/[\r\n ]/g, '')}`,
        '?',
        '/token;x=y',
        '/TOKEN',
        '/token/',
        '//token',
        '/./token',
      ]),
      breaksOff: true,
    }),
    () => ({
      ...shot,
      method: random.pick(['', 'get', 'G E T', 'CONNECT', 'X'.repeat(100), 'PATCH']),
      breaksOff: true,
    }),
    () => ({ ...shot, headers: without('host'), breaksOff: true }),
    () => ({ ...shot, headers: [...headers, ['bad header', 'x'], [`x\0`, `y\0${INJECTED_HEADER}`]], breaksOff: true }),
    () => ({ ...shot, body: body.subarray(0, body.length >> 1), breaksOff: true }),
  ];
  return random.pick(ways)();
}

function withBody(shot: Shot): Shot {
  return { ...shot, headers: [...shot.headers, ['content-length', String(shot.body.length)]] };
}

function nastyHeader(random: Random): string {
  return oneLine(nastyText(random)).slice(0, 6_000);
}

/** A header's value: what would end it is another test's business. */
function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]/g, ' ');
}
