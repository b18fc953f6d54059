import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { EgressSettings } from '../../src/egress/egress.ts';
import { ConcurrencyLimit } from '../../src/egress/concurrency.ts';
import { LIMITS } from '../../src/egress/limits.ts';
import { closeOutside, egressTo, failureOf, NAME, startOutside } from '../support/network/outside_server.ts';
import { eventually } from '../support/node/operator.ts';

afterEach(closeOutside);

const START = Date.UTC(2030, 0, 1);

/** A server that answers so, an Egress that stands at a time which the test moves, and what came to the server. */
async function scene(answer: RequestListener, settings: Partial<EgressSettings> = {}) {
  const outside = await startOutside(answer);
  let now = START;
  const { egress, log } = egressTo([outside], { clock: () => new Date(now), ...settings });
  const url = (path = '/keys', name = NAME): string => `https://${name}:${outside.port}${path}`;
  return {
    egress,
    log,
    url,
    get: async (path?: string) => (await egress.get(url(path))).body.toString(),
    requests: outside.requests,
    passSeconds: (seconds: number) => void (now += seconds * 1_000),
    secondsAgo: (seconds: number) => new Date(now - seconds * 1_000),
  };
}

/** Answers with a number that grows, so that a reused answer shows. */
const counting =
  (headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(200, headers).end(String(counted++));
let counted = 0;

/** Answers nothing until the test lets it. */
function holding(): { answer: RequestListener; release(): void } {
  const held: (() => void)[] = [];
  return {
    answer: (_, response) => void held.push(() => response.end('{}')),
    release: () => held.splice(0).forEach((finish) => finish()),
  };
}

describe('an answer is reused', () => {
  const lifetimes: readonly (readonly [what: string, headers: Record<string, string>, seconds: number])[] = [
    ['for a minute when it says nothing', {}, 60],
    ['for a minute when it says less', { 'cache-control': 'max-age=5' }, 60],
    ['for a minute when it asks not to be', { 'cache-control': 'no-store' }, 60],
    ['for as long as it says', { 'cache-control': 'public, max-age=600' }, 600],
    ['for what is left of that after its age', { 'cache-control': 'max-age=600', age: '200' }, 400],
    ['for an hour when it says more', { 'cache-control': 'max-age=31536000' }, 3_600],
    ['for a minute when what it says is nonsense', { 'cache-control': 'max-age=soon, s-maxage=900', age: '-1' }, 60],
  ];
  for (const [what, headers, seconds] of lifetimes) {
    it(what, async () => {
      const { get, requests, passSeconds } = await scene(counting(headers));
      const first = await get();
      passSeconds(seconds - 1);
      assert.equal(await get(), first);
      passSeconds(1);
      assert.notEqual(await get(), first);
      assert.equal(requests.length, 2);
    });
  }

  it('under its own URL alone', async () => {
    const { get, requests } = await scene(counting());
    assert.notEqual(await get('/keys?a'), await get('/keys?b'));
    assert.equal(requests.length, 2);
  });

  it('unless a newer one is asked for, which then is reused itself', async () => {
    const { egress, url, requests, passSeconds, secondsAgo } = await scene(
      counting({ 'cache-control': 'max-age=600' }),
    );
    await egress.get(url());
    passSeconds(29);
    await egress.get(url(), { fetchedSince: secondsAgo(30) });
    assert.equal(requests.length, 1);
    passSeconds(2);
    const newer = await egress.get(url(), { fetchedSince: secondsAgo(30) });
    const again = await egress.get(url(), { fetchedSince: secondsAgo(30) });
    assert.deepEqual([requests.length, again.body], [2, newer.body]);
  });

  it('until the cache is full: the one that was used least recently goes', async () => {
    const { get, requests } = await scene(counting(), { limits: { rememberedAnswers: 2 } });
    for (const path of ['/1', '/2', '/1', '/3', '/1', '/2']) await get(path);
    assert.deepEqual(requests, ['GET /1', 'GET /2', 'GET /3', 'GET /2']);
  });

  it('only while all of them together are small', async () => {
    const answer: RequestListener = (_, response) => response.end('x'.repeat(600));
    const { get, requests } = await scene(answer, { limits: { rememberedBytes: 1_000 } });
    for (const path of ['/1', '/1', '/2', '/1']) await get(path);
    assert.deepEqual(requests, ['GET /1', 'GET /2', 'GET /1']);
  });
});

describe('a failure is reused', () => {
  it('for ten seconds, and is logged once in that time', async () => {
    const { egress, url, requests, log, passSeconds } = await scene((_, response) => response.writeHead(500).end());
    for (const seconds of [0, 9, 1]) {
      passSeconds(seconds);
      for (let times = 0; times < 5; times++)
        assert.equal((await failureOf(egress.get(url()))).reason, 'status_refused');
    }
    assert.deepEqual([requests.length, log.length], [2, 2]);
  });

  it('when the URL itself is refused, so that asking again costs nothing', async () => {
    const { egress, log } = await scene(counting());
    for (let times = 0; times < 5; times++) await failureOf(egress.get('https://127.0.0.1:22/'));
    assert.equal(log.length, 1);
  });

  it('without losing the good answer from before', async () => {
    let status = 200;
    const answer: RequestListener = (_, response) => response.writeHead(status).end('{}');
    const { egress, url, requests, passSeconds, secondsAgo } = await scene(answer);
    await egress.get(url());
    passSeconds(40);
    status = 500;
    for (let times = 0; times < 2; times++) {
      assert.equal((await failureOf(egress.get(url(), { fetchedSince: secondsAgo(30) }))).reason, 'status_refused');
    }
    assert.equal((await egress.get(url())).body.toString(), '{}');
    assert.equal(requests.length, 2);
  });

  it('for at most so many URLs', async () => {
    const answer: RequestListener = (_, response) => response.writeHead(500).end();
    const { egress, url, requests } = await scene(answer, { limits: { rememberedFailures: 1 } });
    for (const path of ['/1', '/2', '/1']) await failureOf(egress.get(url(path)));
    assert.equal(requests.length, 3);
  });

  it('never for what is sent: each POST goes out', async () => {
    const { egress, url, requests } = await scene((_, response) => response.writeHead(500).end());
    for (let times = 0; times < 3; times++) assert.equal((await egress.post(url(), {}, '{}')).status, 500);
    assert.equal(requests.length, 3);
  });
});

describe('at one time', () => {
  it('one URL is fetched once for all who want it', async () => {
    const { answer, release } = holding();
    const { get, requests } = await scene(answer);
    const all = Promise.all(Array.from({ length: 50 }, () => get()));
    await eventually(async () => requests.length > 0);
    release();
    assert.deepEqual([(await all).length, requests.length], [50, 1]);
  });

  it('one URL fails once for all who want it', async () => {
    const { egress, url, requests } = await scene((_, response) => response.writeHead(404).end());
    await Promise.all(Array.from({ length: 50 }, () => failureOf(egress.get(url()))));
    assert.equal(requests.length, 1);
  });

  it('two requests go to one host, however many URLs it has, and the others follow', async () => {
    const { answer, release } = holding();
    const { get, requests } = await scene(answer);
    const all = Promise.all(Array.from({ length: 5 }, (_, index) => get(`/${index}`)));
    for (const seen of [2, 4, 5]) {
      await eventually(async () => requests.length >= seen);
      assert.equal(requests.length, seen);
      release();
    }
    assert.equal((await all).length, 5);
  });

  it('a slow host holds up no request to another', async () => {
    const { answer, release } = holding();
    const { egress, url, get, requests } = await scene(answer, { limits: { atOnce: 3 } });
    const slow = Promise.all(['/1', '/2', '/3'].map(get));
    await eventually(async () => requests.length === 2);
    // a third place is free, though one waits in line for the slow host
    assert.equal((await failureOf(egress.get(url('/', 'other.client.example')))).reason, 'certificate_refused');
    // and the request in the queue was not sent
    assert.equal(requests.length, 2);
    release();
    await eventually(async () => requests.length === 3);
    release();
    assert.equal((await slow).length, 3);
  });

  it('so many go out in all, to any hosts', async () => {
    let [lookingUp, most] = [0, 0];
    const resolve = async () => {
      most = Math.max(most, ++lookingUp);
      await turn();
      lookingUp -= 1;
      return [{ address: '10.0.0.1', family: 4 }];
    };
    const { egress, url } = await scene(counting(), { resolve, limits: { atOnce: 20 } });
    const names = Array.from({ length: 60 }, (_, index) => `keys-${index}.client.example`);
    const failures = await Promise.all(names.map((name) => failureOf(egress.get(url('/', name)))));
    assert.deepEqual([most, new Set(failures.map(({ reason }) => reason))], [20, new Set(['address_refused'])]);
  });

  it('a request that waits longer than the whole may take fails, and is not sent to the server', async () => {
    const { answer } = holding();
    const { egress, url, requests } = await scene(answer, { limits: { totalMilliseconds: 1_500 } });
    const reasons = ['/1', '/2', '/3', '/4'].map(async (path) => (await failureOf(egress.get(url(path)))).reason);
    // the reason for the others is the full queue: it does not reveal where they were to go
    assert.deepEqual(await Promise.all(reasons), ['timed_out', 'timed_out', 'busy', 'busy']);
    assert.deepEqual(requests.toSorted(), ['GET /1', 'GET /2']);
  });

  it('a request that gave up in the queue keeps no place in it', async () => {
    const gate = new ConcurrencyLimit({ ...LIMITS, atOnce: 1, atOncePerHost: 1, waiting: 2 });
    const patient = new AbortController().signal;
    const comeBack = await gate.acquire({ host: 'host' }, patient);
    const impatient = new AbortController();
    const givenUp = assert.rejects(gate.acquire({ host: 'host' }, impatient.signal), { name: 'AbortError' });
    const next = gate.acquire({ host: 'host' }, patient);
    assert.equal(gate.isFull({ host: 'host' }), true);
    impatient.abort();
    await givenUp;
    assert.equal(gate.isFull({ host: 'host' }), false);
    comeBack();
    (
      await Promise.race([next, turn('still waiting')]).then((end) =>
        typeof end === 'string' ? assert.fail(end) : end,
      )
    )();
    assert.equal(typeof (await gate.acquire({ host: 'host' }, patient)), 'function');
  });

  it('so many may wait; who comes then is told that we are busy, and may try again at once', async () => {
    const { answer, release } = holding();
    const { egress, url, get, requests } = await scene(answer, { limits: { waiting: 1 } });
    const admitted = Promise.all(['/1', '/2', '/3'].map(get));
    assert.equal((await failureOf(egress.get(url('/4')))).reason, 'busy');
    await eventually(async () => requests.length === 2);
    release();
    await eventually(async () => requests.length === 3);
    release();
    await admitted;
    const again = get('/4');
    await eventually(async () => requests.length === 4);
    release();
    assert.equal(await again, '{}');
  });
});
