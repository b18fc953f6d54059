import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { networkOf } from '../../src/limits/rate_limit_key.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

/** A client with one IPv6 address has the 2^64 of its network, and can use another one for each request. */
describe('a limit per address', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
        GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '1',
        GATEHOUSE_ADDRESS_REQUESTS_BURST: '150',
      },
    });
  });
  after(() => gatehouse.stop());

  const register = async (from: string): Promise<number> => {
    const response = await fetch(`${gatehouse.url}/register`, {
      method: 'POST',
      headers: { 'x-forwarded-for': from, 'content-type': 'application/json' },
      body: '{}',
    });
    await response.body?.cancel();
    return response.status;
  };
  const get = async (from: string): Promise<number> => {
    const response = await fetch(`${gatehouse.url}/jwks`, { headers: { 'x-forwarded-for': from } });
    await response.body?.cancel();
    return response.status;
  };

  it('counts all addresses of one IPv6 network together, kept in the database or not', async () => {
    const registrations: number[] = [];
    for (let host = 1; host <= 101; host++) registrations.push(await register(`2001:db8:7:9::${host.toString(16)}`));
    assert.deepEqual([...new Set(registrations.slice(0, 100))], [401], 'as many as anybody may try');
    assert.equal(registrations[100], 429, 'and the next one is too many, whichever address it comes from');
    assert.equal(await register('2001:db8:7:a::1'), 401, 'a neighbour is somebody else');

    const requests = await Promise.all(
      Array.from({ length: 200 }, (_, host) => get(`2001:db8:7:b:${(host + 1).toString(16)}::7`)),
    );
    assert.ok(requests.includes(200) && requests.includes(429));
    assert.equal(await get('2001:db8:7:c::1'), 200);
  });

  it('knows an IPv6 network however its addresses are written', () => {
    const one = ['2001:db8:0:1::', '2001:DB8::1:0:0:0:1', '2001:0db8:0000:0001:a:b:c:d', '2001:db8:0:1::192.0.2.7'];
    assert.deepEqual([...new Set(one.map(networkOf))], ['2001:db8:0:1::/64']);
    assert.deepEqual(['::1', 'fe80::1%eth0', '::ffff:192.0.2.7', '1:2:3:4:5::'].map(networkOf), [
      '0:0:0:0::/64',
      'fe80:0:0:0::/64',
      '0:0:0:0::/64',
      '1:2:3:4::/64',
    ]);
    assert.deepEqual(['192.0.2.7', ''].map(networkOf), ['192.0.2.7', '']);
  });
});
