import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { closeOutside, egressTo, failureOf, NAME, startOutside } from '../support/network/outside_server.ts';

afterEach(closeOutside);

const limits = { failuresInARow: 3, restMillisecondsLeast: 200, restMillisecondsMost: 1_000, totalMilliseconds: 2_000 };
/** The first rest is anything up to a bit more than the least: this one outlasts every test. */
const LONG_REST = { restMillisecondsLeast: 3_600_000, restMillisecondsMost: 3_600_000, totalMilliseconds: 1_000 };

async function scene(changed: Partial<typeof limits> = {}) {
  let status = 503;
  const outside = await startOutside((request, response) => {
    if (!request.url!.startsWith('/silent')) response.writeHead(request.url === '/broken' ? status : 200).end('{}');
  });
  const { egress } = egressTo([outside], { limits: { ...limits, ...changed } });
  const url = (path: string): string => `https://${NAME}:${outside.port}${path}`;
  const post = (path: string) => egress.post(url(path), {}, '{}');
  return { outside, egress, url, post, mend: () => void (status = 200) };
}

describe('a place outside that fails again and again', () => {
  it('rests, is tried by one request when that is over, and is asked as before when it answers', async () => {
    const { outside, egress, post, mend } = await scene();
    for (let i = 0; i < 3; i++) assert.equal((await post('/broken')).status, 503);
    assert.equal((await failureOf(post('/broken'))).reason, 'resting');
    assert.equal(outside.requests.length, 3);
    assert.equal(egress.places.open, 1);
    mend();
    await delay(1_100);
    const tried = await Promise.allSettled([post('/broken'), post('/broken'), post('/broken')]);
    assert.deepEqual(tried.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected', 'rejected']);
    assert.equal(outside.requests.length, 4);
    assert.equal((await post('/broken')).status, 200);
    assert.deepEqual(egress.places, { closed: 2, open: 0, half_open: 0 });
  });

  it('by being slow or broken at one path rests at that path alone, which another client may have chosen', async () => {
    const { post } = await scene(LONG_REST);
    for (let i = 0; i < 3; i++) {
      assert.equal((await failureOf(post('/silent'))).reason, 'timed_out');
      await post('/broken');
    }
    assert.equal((await failureOf(post('/silent'))).reason, 'resting');
    assert.equal((await failureOf(post('/broken'))).reason, 'resting');
    assert.equal((await post('/well')).status, 200);
  });

  it('by not being reached rests at all its paths', async () => {
    const { outside, post } = await scene(LONG_REST);
    outside.close();
    for (const path of ['/a', '/b', '/c']) assert.equal((await failureOf(post(path))).reason, 'connection_failed');
    assert.equal((await failureOf(post('/d'))).reason, 'resting');
  });

  it('does not refuse those for whom the queue was merely full', async () => {
    const { egress, post } = await scene(LONG_REST);
    const slow = ['/silent?1', '/silent?2'].map((path) => failureOf(post(path)));
    const crowd = Array.from({ length: 6 }, () => failureOf(post('/well')));
    for (const { reason } of await Promise.all(crowd)) assert.equal(reason, 'busy');
    for (const { reason } of await Promise.all(slow)) assert.equal(reason, 'timed_out');
    assert.equal(egress.places.open, 0);
    assert.equal((await post('/well')).status, 200);
  });
});
