import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { isSpecialAddress } from '../../src/egress/addresses.ts';
import { Egress, type EgressSettings } from '../../src/egress/egress.ts';
import { createLog } from '../../src/log.ts';
import {
  closeOutside,
  egressTo,
  failureOf,
  NAME,
  PRIVATE,
  PUBLIC,
  startOutside,
  startRaw,
} from '../support/network/outside_server.ts';

/** As in production, but for the resolver, which is asked for nothing unless a test says otherwise. */
const guarded = (settings: Partial<EgressSettings> = {}): Egress =>
  new Egress({
    allow: [],
    resolve: (name) => Promise.reject(new Error(`${name} was looked up`)),
    clock: () => new Date(),
    log: createLog('silent'),
    ...settings,
  });
const resolvingTo =
  (...addresses: string[]): EgressSettings['resolve'] =>
  async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

afterEach(closeOutside);

describe('an address that is not on the public internet', () => {
  const special: Readonly<Record<string, readonly string[]>> = {
    loopback: ['127.0.0.1', '127.255.255.254', '::1'],
    private: ['10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255'],
    'link-local, with the metadata of clouds': [
      '169.254.169.254',
      '169.254.0.1',
      'fe80::1',
      'febf::1',
      'fe80::1%eth0',
      '2606:4700::1111%eth0',
    ],
    'unique local': ['fc00::1', 'fd00:ec2::254', 'fdff::1'],
    'site-local, as it once was': ['fec0::1'],
    'of a carrier (CGNAT)': ['100.64.0.1', '100.100.100.200', '100.127.255.255'],
    multicast: ['224.0.0.1', '239.255.255.255', 'ff02::1', 'ff0e::1'],
    unspecified: ['0.0.0.0', '0.1.2.3', '::'],
    'for documentation': ['192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1'],
    'for benchmarking': ['198.18.0.1', '198.19.255.255', '2001:2::1'],
    'of the IETF, 6to4 relays and AS112': [
      '192.0.0.192',
      '192.88.99.1',
      '192.31.196.1',
      '192.52.193.1',
      '192.175.48.1',
    ],
    'broadcast and reserved': ['255.255.255.255', '240.0.0.1'],
    "a cloud's host agent": ['168.63.129.16'],
    'IPv4 mapped into IPv6': ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:8.8.8.8', '0:0:0:0:0:ffff:a00:1'],
    'IPv4-compatible': ['::127.0.0.1', '::7f00:1', '::8.8.8.8'],
    'IPv4 translated': ['64:ff9b::127.0.0.1', '64:ff9b::808:808', '64:ff9b:1::1', '::ffff:0:127.0.0.1'],
    '6to4': ['2002:7f00:1::', '2002:808:808::1'],
    Teredo: ['2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    'discard-only or not given out': ['100::1', '4000::1', '5f00::1', '8000::1', 'e000::1'],
    'no address at all': ['', 'localhost', '127.1', '1.2.3.4.5', '::g'],
  };
  for (const [kind, addresses] of Object.entries(special)) {
    it(`is refused: ${kind}`, () => {
      for (const address of addresses) assert.equal(isSpecialAddress(address), true, address);
    });
  }

  it('is told from the public ones beside it', () => {
    const open = [
      '1.1.1.1',
      '8.8.8.8',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
    ];
    const more = ['128.0.0.1', '169.253.255.255', '172.15.255.255', '172.32.0.0', '192.167.255.255', '192.169.0.0'];
    const last = ['198.17.255.255', '198.20.0.0', '223.255.255.255', '2606:4700::1111', '2a00:1450::1', '2001:200::1'];
    for (const address of [...open, ...more, ...last]) assert.equal(isSpecialAddress(address), false, address);
  });
});

describe('a URL that a client supplied is refused before anything is looked up or connected', () => {
  const refused: readonly (readonly [what: string, reason: string, ...urls: string[]])[] = [
    [
      'that is none',
      'url_invalid',
      '',
      'keys',
      '//keys.client.example',
      'https://',
      `https://k.example/${'a'.repeat(3_000)}`,
    ],
    [
      'that is not https',
      'scheme_refused',
      'http://keys.client.example',
      'file:///etc/passwd',
      'data:application/json,{}',
      'ftp://keys.client.example/',
    ],
    ['with a user', 'userinfo_refused', 'https://user@keys.client.example', 'https://a:b@keys.client.example'],
    ['on another port', 'port_refused', 'https://keys.client.example:8443', 'https://keys.client.example:22'],
    [
      'of this machine by name',
      'name_refused',
      'https://localhost',
      'https://LOCALHOST/',
      'https://keys.localhost',
      'https://localhost.localdomain',
    ],
    [
      'of a network by name',
      'name_refused',
      'https://keys',
      'https://metadata.google.internal',
      'https://printer.local',
      'https://router.home.arpa',
    ],
    [
      'with a dot at the end',
      'name_refused',
      'https://keys.client.example.',
      'https://localhost.',
      'https://a..example',
    ],
    ['at a private address', 'address_refused', 'https://127.0.0.1', 'https://169.254.169.254/latest/meta-data'],
    ['at a private IPv6 address', 'address_refused', 'https://[::1]', 'https://[fe80::1]', 'https://[fd00:ec2::254]'],
    ['at a mapped address', 'address_refused', 'https://[::ffff:169.254.169.254]', 'https://[64:ff9b::7f00:1]'],
    [
      'at an address in disguise',
      'address_refused',
      'https://2130706433',
      'https://0x7f000001',
      'https://0177.0.0.1',
      'https://0x7f.1',
      'https://127.1',
      'https://127.0.0.1./',
      'https://①②⑦.⓪.⓪.①',
      'https://0',
      'https://2852039166',
    ],
  ];
  for (const [what, reason, ...urls] of refused) {
    it(`${what}: ${reason}`, async () => {
      for (const url of urls) assert.equal((await failureOf(guarded().get(url))).reason, reason, url);
    });
  }

  it('for POST as for GET', async () => {
    assert.equal((await failureOf(guarded().post('https://127.0.0.1/', {}, ''))).reason, 'address_refused');
  });
});

describe('a name', () => {
  it('is refused when it resolves to a private address, and nothing is connected', async () => {
    const outside = await startOutside((_, response) => response.end('{}'), { address: PRIVATE });
    const { egress } = egressTo([outside], { resolve: resolvingTo(PRIVATE) });
    const failure = await failureOf(egress.get(`https://${NAME}:${outside.port}/`));
    assert.deepEqual(failure, { reason: 'address_refused', host: `${NAME}:${outside.port}`, address: PRIVATE });
    assert.equal(outside.connections(), 0);
  });

  it('is refused when one of its addresses is private, in any position', async () => {
    const outside = await startOutside((_, response) => response.end('{}'));
    for (const addresses of [
      [PUBLIC, PRIVATE],
      [PRIVATE, PUBLIC],
      [PUBLIC, '::1'],
    ]) {
      const { egress } = egressTo([outside], { resolve: resolvingTo(...addresses) });
      assert.equal((await failureOf(egress.get(`https://${NAME}:${outside.port}/`))).reason, 'address_refused');
    }
    assert.equal(outside.connections(), 0);
  });

  it('is looked up once and connected where it was checked, however it resolves later (DNS rebinding, ADM-08)', async () => {
    // both on one port, which the listener on the public address chooses
    const rebound = await startOutside((_, response) => response.end('"rebound"'), { address: PRIVATE });
    const checked = await startOutside((_, response) => response.end('"checked"'), { port: rebound.port });
    let lookUps = 0;
    const resolve: EgressSettings['resolve'] = async () => [{ address: lookUps++ === 0 ? PUBLIC : PRIVATE, family: 4 }];
    const { egress } = egressTo([checked], { resolve });
    const { body } = await egress.get(`https://${NAME}:${checked.port}/`);
    assert.deepEqual([body.toString(), lookUps, rebound.connections()], ['"checked"', 1, 0]);
  });

  it('that does not resolve is a failure, whether DNS says so or says nothing', async () => {
    const unknown = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    const url = `https://${NAME}/`;
    const failure = await failureOf(guarded({ resolve: () => Promise.reject(unknown) }).get(url));
    assert.deepEqual(failure, { reason: 'name_unknown', host: NAME, errorCode: 'ENOTFOUND' });
    assert.equal((await failureOf(guarded({ resolve: resolvingTo() }).get(url))).reason, 'name_unknown');
  });
});

describe('what the operator allows', () => {
  it('is fetched from a private address, over plain http where they say so', async () => {
    const outside = await startOutside((_, response) => response.end('{}'), { address: PRIVATE, tls: false });
    const origin = `http://${PRIVATE}:${outside.port}`;
    assert.equal((await guarded({ allow: [origin] }).get(`${origin}/keys`)).body.toString(), '{}');
  });

  it('is fetched by name from a private address and another port', async () => {
    const outside = await startOutside((_, response) => response.end('{}'), { address: PRIVATE });
    const origin = `https://${NAME}:${outside.port}`;
    const { egress } = egressTo([], { allow: [origin], resolve: resolvingTo(PRIVATE) });
    assert.equal((await egress.get(`${origin}/keys`)).body.toString(), '{}');
  });

  it('is that scheme, host and port alone', async () => {
    const outside = await startRaw((socket) => socket.destroy());
    const { port } = outside;
    const egress = guarded({ allow: [`https://${PRIVATE}:${port}`, 'http://keys.internal.example'] });
    const others: Readonly<Record<string, string>> = {
      [`http://${PRIVATE}:${port}`]: 'scheme_refused',
      [`https://${PUBLIC}:${port}`]: 'port_refused',
      [`https://${PRIVATE}`]: 'address_refused',
      [`https://user@${PRIVATE}:${port}`]: 'userinfo_refused',
      'http://keys.internal.example:8080': 'scheme_refused',
      'http://keys.internal.example.': 'scheme_refused',
      'http://keys.internal.example.evil.example': 'scheme_refused',
    };
    for (const [url, reason] of Object.entries(others)) {
      assert.equal((await failureOf(egress.get(url))).reason, reason, url);
    }
    assert.equal(outside.connections(), 0);
  });
});
