import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { describe, it } from 'node:test';
import { clientAddress } from '../../src/http/client_address.ts';

const addressOf = clientAddress(['10.0.0.0/8', 'fd00::/8']);
const from = (remoteAddress: string, forwarded?: string): string =>
  addressOf({ socket: { remoteAddress }, headers: { 'x-forwarded-for': forwarded } } as unknown as IncomingMessage);

describe('the address that a request came from', () => {
  const cases: readonly [what: string, peer: string, forwarded: string | undefined, expected: string][] = [
    ['is the connection’s', '203.0.113.7', undefined, '203.0.113.7'],
    [
      'is the connection’s, even if a sender that is no proxy of ours says another',
      '203.0.113.7',
      '1.1.1.1',
      '203.0.113.7',
    ],
    ['is what a proxy of ours says', '10.0.0.1', '203.0.113.7', '203.0.113.7'],
    ['is the last one that is no proxy of ours', '10.0.0.1', '1.1.1.1, 203.0.113.7, 10.2.3.4', '203.0.113.7'],
    ['is told with its port by some proxies', '10.0.0.1', '1.1.1.1, 203.0.113.7:54321', '203.0.113.7'],
    ['is told with its port by some proxies, in IPv6', '::ffff:10.0.0.1', '1.1.1.1, [2001:db8::7]:443', '2001:db8::7'],
    ['is not what stands before something that is no address', '10.0.0.1', '1.1.1.1, unknown', '10.0.0.1'],
    ['is not what stands before nothing', '10.0.0.1', '1.1.1.1, ', '10.0.0.1'],
    ['is the proxy’s own where it says nothing', 'fd00::1', undefined, 'fd00::1'],
  ];
  for (const [what, peer, forwarded, expected] of cases) it(what, () => assert.equal(from(peer, forwarded), expected));
});
