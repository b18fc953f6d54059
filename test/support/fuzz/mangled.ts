/** HTTP itself broken. */
import type { Random } from './random.ts';
import type { Header, Shot } from './shot.ts';
import { INJECTED_HEADER } from './values.ts';

/** The same request, broken in one way. */
export function mangled(random: Random, shot: Shot): Shot {
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
