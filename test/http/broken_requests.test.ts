import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { basic } from '../support/client/code_flow.ts';
import { send } from '../support/fuzz/shot.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('a request that stops being HTTP half-way', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  for (const [what, rest] of Object.entries({
    'a chunk of no length': 'transfer-encoding: chunked\r\n\r\nzz\r\nclient_secret=hush-hush',
    'an encoding that there is not': 'transfer-encoding: chunked, x\r\n\r\nclient_secret=hush-hush',
    'a body that ends early': 'content-length: 500\r\n\r\nclient_secret=hush-hush',
  })) {
    it(`is no failure of ours, and its bytes are in no log: ${what}`, async () => {
      const { client_id } = gatehouse.demo;
      const began = gatehouse.log.length;
      const head = `POST /token HTTP/1.1\r\nhost: x\r\nauthorization: ${basic(client_id, 'hush-hush')}\r\ncontent-type: application/x-www-form-urlencoded\r\n`;
      await send(Number(new URL(gatehouse.url).port), Buffer.from(head + rest), true);
      await delay(100);
      const said = gatehouse.log.slice(began).join('');
      assert.doesNotMatch(said, /"level":"(error|fatal)"/);
      const bytes = [...Buffer.from('hush-hush')].join(',');
      for (const form of ['hush-hush', bytes, Buffer.from('hush-hush').toString('hex')]) {
        assert.ok(!said.includes(form), said);
      }
    });
  }

  it('leaves an OPTIONS that asks for no other origin with the methods there are', async () => {
    const response = await fetch(`${gatehouse.url}/token`, { method: 'OPTIONS' });
    assert.deepEqual([response.status, response.headers.get('allow')], [204, 'POST, OPTIONS']);
  });
});
