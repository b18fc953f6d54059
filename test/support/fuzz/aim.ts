/** Requests that are nearly right: each starts from one that its route would take, and has a few things wrong. */
import { honestParameters, type Pairs } from './honest_parameters.ts';
import { mangled } from './mangled.ts';
import { authentication, commonHeaders, nastyHeader, oneLine } from './odd_headers.ts';
import type { Random } from './random.ts';
import type { Header, Shot } from './shot.ts';
import type { Means, Route } from './target.ts';
import { nastyText, oddJson } from './values.ts';

const FORM = 'application/x-www-form-urlencoded';
/** Every parameter of the protocol, for wherever it does not belong as well. */
const PARAMETERS = (
  'client_id client_secret client_assertion client_assertion_type response_type response_mode redirect_uri scope state nonce ' +
  'code code_verifier code_challenge code_challenge_method prompt max_age login_hint id_token_hint acr_values claims ui_locales ' +
  'request request_uri registration resource audience grant_type refresh_token device_code user_code token token_type_hint ' +
  'subject_token subject_token_type actor_token assertion authorization_details dpop_jkt iss post_logout_redirect_uri logout_hint ' +
  'xsrf logout form_token session_id email password decision remember auth_req_id binding_message client_notification_token ' +
  '__proto__ constructor a[b] a[] limit cursor q'
).split(' ');

/** Makes a request for the route. */
export function aim(random: Random, route: Route, means: Means): Shot {
  const shot = route.admin ? atAdmin(random, route, means) : atProtocol(random, route, means);
  return random.chance(0.1) ? mangled(random, shot) : shot;
}

function atProtocol(random: Random, route: Route, means: Means): Shot {
  const path = fill(random, route.path, { uid: means.interaction });
  const parameters = spoil(random, honestParameters(random, route.path, means));
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
  const target = `${fill(random, route.path, means.ids)}${query}`;
  const token = random.chance(0.1) ? nastyHeader(random) : means.adminToken;
  const headers: Header[] = [
    ['host', means.target.host],
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

function fill(random: Random, path: string, likely: Readonly<Record<string, string>>): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    if (random.chance(0.6)) return encodeURIComponent(likely[name] ?? 'client_x');
    const text = nastyText(random).slice(0, 3_000);
    return random.chance(0.8) ? encodeURIComponent(text.toWellFormed()) : oneLine(text).replaceAll(' ', '');
  });
}

function withBody(shot: Shot): Shot {
  return { ...shot, headers: [...shot.headers, ['content-length', String(shot.body.length)]] };
}
