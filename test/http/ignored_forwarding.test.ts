import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly peer: string;
  readonly header: string;
  readonly change: string;
}

const ignored = ({ log }: Gatehouse): Line[] =>
  log.map((line) => JSON.parse(line) as Line).filter(({ msg }) => msg === 'address.header_ignored');

async function ask({ url }: Gatehouse, headers: Readonly<Record<string, string>>): Promise<void> {
  const response = await fetch(`${url}/jwks`, { headers });
  await response.body?.cancel();
  assert.equal(response.status, 200);
}

describe('a header that says where a request came from', () => {
  let trusting: Gatehouse;
  let other: Gatehouse;
  before(async () => {
    trusting = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
    other = await startGatehouse();
  });
  after(async () => {
    await other.stop();
    await trusting.stop();
  });
  afterEach(resetClock);

  it('from a peer that is no trusted proxy is in the log once an hour, with the setting to change (FIELD-B9)', async () => {
    await ask(other, {});
    assert.deepEqual(ignored(other), []);
    for (let n = 0; n < 5; n++) await ask(other, { 'x-forwarded-for': '203.0.113.7' });
    await ask(other, { forwarded: 'for=203.0.113.7' });
    const [line, ...more] = ignored(other);
    assert.deepEqual(more, []);
    assert.deepEqual([line?.level, line?.peer, line?.header], ['warn', '127.0.0.1', 'X-Forwarded-For']);
    assert.match(line!.change, /add it to GATEHOUSE_TRUSTED_PROXIES/);
    moveClock(3_601);
    await ask(other, { forwarded: 'for=203.0.113.7' });
    await ask(other, { forwarded: 'for=203.0.113.7' });
    assert.deepEqual(
      ignored(other).map(({ header }) => header),
      ['X-Forwarded-For', 'Forwarded'],
    );
  });

  it('from a trusted proxy is in the log where it is one that this server does not read', async () => {
    await ask(trusting, { 'x-forwarded-for': '203.0.113.7', forwarded: 'for=203.0.113.7' });
    assert.deepEqual(ignored(trusting), []);
    await ask(trusting, { forwarded: 'for=203.0.113.7' });
    assert.deepEqual(
      ignored(trusting).map(({ peer, change }) => [peer, /X-Forwarded-For/.test(change)]),
      [['127.0.0.1', true]],
    );
  });
});
