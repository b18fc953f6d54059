/** Headers that are sometimes right, and as often odd. */
import { basic } from '../client/code_flow.ts';
import type { Random } from './random.ts';
import type { Header } from './shot.ts';
import type { Means } from './target.ts';
import { certificateLike, deflateBomb, jwtLike, nastyText, slowKey } from './values.ts';

export function commonHeaders(random: Random, { target, cookies }: Means): Header[] {
  const headers: Header[] = [
    ['host', random.chance(0.03) ? nastyHeader(random) : target.host],
    ['connection', 'close'],
    ['accept', random.pick(['text/html', 'application/json', '*/*', nastyHeader(random)])],
  ];
  if (random.chance(0.5)) headers.push(['cookie', random.chance(0.8) ? cookies : oddCookies(random, cookies)]);
  if (random.chance(0.3))
    headers.push(['origin', random.pick([target.issuer, target.issuer, 'null', nastyHeader(random)])]);
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
      random.chance(0.8) ? jwtLike(random, { htm: 'POST', htu: `${target.issuer}/token` }) : nastyHeader(random),
    ]);
  return headers;
}

export function authentication(random: Random, { target, adminToken }: Means): Header[] {
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

export function nastyHeader(random: Random): string {
  return oneLine(nastyText(random)).slice(0, 6_000);
}

/** A header's value: what would end it is another test's business. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]/g, ' ');
}
