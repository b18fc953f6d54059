/** Values that parsers have stumbled over. */
import { deflateRawSync } from 'node:zlib';
import type { Random } from './random.ts';

/** Must never come back in a page as it is. */
export const MARKUP = '"><script>fuzz</script>';
/** Must never become a header of an answer. */
export const INJECTED_HEADER = 'x-fuzz-injected';

const NASTY: readonly string[] = [
  '',
  ' ',
  '\0',
  'a\0b',
  `\r\n${INJECTED_HEADER}: 1\r\n\r\n`,
  MARKUP,
  "' or 1=1;--",
  '\\',
  '%',
  '%zz',
  '%00',
  '%2e%2e%2f',
  '../../../etc/passwd',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'null',
  'undefined',
  'NaN',
  '-1',
  '0',
  '1e400',
  '99999999999999999999',
  '2038-13-45T99:99:99Z',
  'true',
  '[]',
  '{}',
  '{"__proto__":{"admin":true}}',
  '\ud800',
  '\u202e',
  '\ufeff',
  'é'.repeat(300),
  '💥'.repeat(50),
  'a'.repeat(5_000),
  ' a '.repeat(1_000),
  'openid '.repeat(500),
  'https://',
  'https://[',
  'http://127.0.0.1:99999/',
  'javascript:alert(1)',
  'data:text/html,x',
  'urn:ietf:params:oauth:request_uri:',
  'urn:ietf:params:oauth:request_uri:x',
  '\t\n',
  '.',
  '..',
  '...',
  'e30.e30.e30',
  'e30.e30.',
  'a.b.c.d.e',
  '*',
  '{{7*7}}',
  '${7*7}',
];

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A compact JWE whose plaintext is a thousand times what comes over the wire. */
export function deflateBomb(alg = 'dir'): string {
  const bomb = deflateRawSync(Buffer.alloc(4 * 1024 * 1024, 0x20)).toString('base64url');
  return `${encode({ alg, enc: 'A256GCM', zip: 'DEF', cty: 'JWT' })}.AAAA.AAAAAAAAAAAAAAAA.${bomb}.AAAAAAAAAAAAAAAAAAAAAA`;
}

/** A JWE whose key would take minutes to derive. */
export function slowKey(p2c = 2_147_483_647): string {
  const header = encode({ alg: 'PBES2-HS512+A256KW', enc: 'A256GCM', p2c, p2s: 'AAAAAAAAAAAAAAAAAAAAAA' });
  return `${header}.${'A'.repeat(54)}.AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`;
}

/** A JWT, more or less: header and claims of all kinds, and a signature that is none. */
export function jwtLike(random: Random, claims: Readonly<Record<string, unknown>> = {}): string {
  if (random.chance(0.1)) return deflateBomb(random.pick(['dir', 'RSA-OAEP', 'ECDH-ES']));
  if (random.chance(0.1)) return slowKey();
  const now = Math.floor(Date.now() / 1000);
  const header: Record<string, unknown> = {
    alg: random.pick<unknown>([
      'ES256',
      'RS256',
      'none',
      'HS256',
      'PS256',
      'EdDSA',
      'ML-DSA-44',
      '',
      null,
      7,
      ['ES256'],
      {},
    ]),
    typ: random.pick<unknown>(['JWT', 'dpop+jwt', 'at+jwt', 'logout+jwt', 'oauth-authz-req+jwt', undefined, 1]),
    kid: random.pick<unknown>(['x', MARKUP, '', null, undefined, '../../x', 'k'.repeat(3_000)]),
    ...(random.chance(0.3) && { jwk: random.pick<unknown>([oddKey(random), null, 'x', [], {}]) }),
    ...(random.chance(0.2) && { crit: random.pick<unknown>([['exp'], [], 'exp', ['b64'], [null]]), b64: false }),
    ...(random.chance(0.1) && { jku: 'http://127.0.0.1/', x5u: 'http://127.0.0.1/', x5c: ['AAAA', MARKUP] }),
  };
  const body = random.chance(0.1)
    ? random.pick(['"text"', '[]', 'null', '7', '{', '{"a":'.repeat(2_000), '{"a":1,"a":2}', '\u0000'])
    : JSON.stringify({ iat: now, exp: now + 60, jti: String(random.below(1e9)), ...claims, ...oddClaims(random) });
  const signature = random.pick(['', 'AAAA', random.bytes(64).toString('base64url'), '!!!', 'A'.repeat(20_000)]);
  return `${encode(header)}.${Buffer.from(body).toString('base64url')}.${signature}`;
}

function oddClaims(random: Random): Record<string, unknown> {
  const claim = random.pick([
    'iss',
    'sub',
    'aud',
    'exp',
    'iat',
    'nbf',
    'jti',
    'htm',
    'htu',
    'ath',
    'nonce',
    'client_id',
    '__proto__x',
  ]);
  return { [claim]: oddJson(random, 2) };
}

function oddKey(random: Random): object {
  return random.pick<object>([
    { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' },
    { kty: 'EC', crv: 'P-999', x: '', y: null },
    { kty: 'RSA', n: 'AQAB', e: 'AQAB' },
    { kty: 'RSA', n: 'A'.repeat(10_000), e: 'A'.repeat(10_000) },
    { kty: 'oct', k: 'AAAA' },
    { kty: 'OKP', crv: 'Ed25519', x: 'AAAA', d: 'AAAA' },
    { kty: ['EC'], crv: {} },
  ]);
}

const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----';

/** What a proxy might hand over as a client's certificate. */
export function certificateLike(random: Random): string {
  return random.pick([
    PEM,
    encodeURIComponent(PEM),
    `:${random.bytes(200).toString('base64')}:`,
    ':AAAA:, :BBBB:',
    `Hash=${'0'.repeat(64)};Cert="${encodeURIComponent(PEM)}";Subject="${MARKUP}"`,
    'A'.repeat(8_000),
    '%zz',
    '::',
  ]);
}

export function nastyText(random: Random): string {
  if (random.chance(0.1)) return jwtLike(random);
  if (random.chance(0.1)) return random.bytes(1 + random.below(40)).toString('latin1');
  return random.pick(NASTY);
}

/** JSON of any shape, up to a depth. */
export function oddJson(random: Random, depth: number): unknown {
  const scalars: unknown[] = [null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, '', [], {}];
  if (depth === 0 || random.chance(0.5)) return random.chance(0.5) ? random.pick(scalars) : nastyText(random);
  if (random.chance(0.5)) return Array.from({ length: random.below(4) }, () => oddJson(random, depth - 1));
  return Object.fromEntries(
    Array.from({ length: random.below(4) }, () => [nastyText(random).slice(0, 100), oddJson(random, depth - 1)]),
  );
}
