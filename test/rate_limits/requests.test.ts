import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { after, describe, it } from 'node:test';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';

const started: Gatehouse[] = [];
after(() => Promise.all(started.map((gatehouse) => gatehouse.stop())));

async function startWith(environment: Readonly<Record<string, string>>): Promise<Gatehouse> {
  const gatehouse = await startGatehouse({ environment });
  started.push(gatehouse);
  return gatehouse;
}

/** `?ordinary` means nothing, but keeps a request from the fast path. */
const ask = ({ url }: Gatehouse, client: RegisteredClient, query = '') =>
  postForm(`${url}/token${query}`, { grant_type: 'client_credentials' }, client);

async function askOften(times: number, request: () => Promise<Response>): Promise<Response[]> {
  const answers: Response[] = [];
  for (let i = 0; i < times; i++) answers.push(await request());
  return answers;
}

const statuses = (answers: readonly Response[]) => [...new Set(answers.map(({ status }) => status))];

describe('a client that asks too often', () => {
  for (const [way, query] of [
    ['fast', ''],
    ['ordinary', '?ordinary'],
  ] as const) {
    it(`is told when to retry, and takes nothing from another, on the ${way} path`, async () => {
      const gatehouse = await startWith({
        GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '2',
        GATEHOUSE_CLIENT_REQUESTS_BURST: '5',
      });
      const [loud, quiet] = [await registerClient(gatehouse), await registerClient(gatehouse)];
      const began = performance.now();
      const answers = await askOften(40, () => ask(gatehouse, loud, query));
      const seconds = Math.ceil((performance.now() - began) / 1_000);
      assert.deepEqual(statuses(answers), [200, 429]);
      assert.ok(answers.filter(({ status }) => status === 200).length <= 5 + 2 * seconds);
      const refused = answers.find(({ status }) => status === 429)!;
      assert.equal(refused.headers.get('retry-after'), '1');
      assert.equal(refused.headers.get('ratelimit-policy'), '"client";q=5;w=3');
      assert.equal(refused.headers.get('ratelimit'), '"client";r=0;t=1');
      assert.equal(refused.headers.get('cache-control'), 'no-store');
      const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
      const counted = /^gatehouse_requests_refused_total\{limit="client"\} (\d+)$/m.exec(metrics);
      assert.equal(Number(counted?.[1]), answers.filter(({ status }) => status === 429).length);
      assert.deepEqual(await refused.json(), {
        error: 'temporarily_unavailable',
        error_description: 'too many requests; try again in 1 s',
      });
      assert.equal((await ask(gatehouse, quiet, query)).status, 200);
      await delay(1_100);
      assert.equal((await ask(gatehouse, loud, query)).status, 200);
    });
  }

  for (const query of ['', '?ordinary']) {
    it(`is told what it has left once that is less than half, at /token${query}`, async () => {
      const gatehouse = await startWith({
        GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1',
        GATEHOUSE_CLIENT_REQUESTS_BURST: '100',
      });
      const client = await registerClient(gatehouse);
      const answers = await askOften(80, () => ask(gatehouse, client, query));
      const told = answers.map(({ headers }) => headers.get('ratelimit'));
      assert.deepEqual([told[0], told[40]], [null, null]);
      const left = told.slice(80 - 5).map((one) => Number(/^"client";r=(\d+);t=1$/.exec(one ?? '')?.[1]));
      assert.ok(left.every((one) => one >= 20 && one < 50));
      assert.ok(left[4]! <= left[0]!);
      assert.equal(answers.at(-1)!.headers.get('ratelimit-policy'), '"client";q=100;w=100');
    });
  }

  it('is on record once for a row of refusals, not once for each', async () => {
    const gatehouse = await startWith({
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '1',
    });
    const client = await registerClient(gatehouse);
    const lean = await askOften(10, () => ask(gatehouse, client));
    const rows = lean.filter(({ status }, index) => status === 429 && lean[index - 1]?.status !== 429).length;
    await askOften(10, () => ask(gatehouse, client, '?ordinary'));
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'client.throttled')
      .where('client_id', '=', client.client_id)
      .execute();
    assert.ok(events.length >= 1 && events.length <= rows + 2, `${events.length} events of ${rows} rows`);
  });

  it('pays for what it asked all at once on the ordinary path, and is on record for it', async () => {
    const gatehouse = await startWith({
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '4',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '8',
    });
    const client = await registerClient(gatehouse);
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${gatehouse.url}/jwks`)));
    const atOnce = await Promise.all(Array.from({ length: 20 }, () => ask(gatehouse, client, '?ordinary')));
    // a process that is slow enough lets them come one after the other
    const served = atOnce.filter(({ status }) => status === 200);
    const next = (await askOften(4, () => ask(gatehouse, client))).find(({ status }) => status === 429);
    assert.ok(next);
    for (const { headers } of [...served, next]) assert.doesNotMatch(headers.get('ratelimit') ?? '', /r=-/);
    if (served.length > 12) assert.ok(Number(next.headers.get('retry-after')) >= 2);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('client_id', '=', client.client_id)
      .where('event', '=', 'client.throttled')
      .execute();
    assert.equal(events.length, 1);
  });

  it('is on record once at the other endpoints, too', async () => {
    const gatehouse = await startWith({
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '2',
    });
    const client = await registerClient(gatehouse);
    const began = performance.now();
    const answers = await askOften(12, () => postForm(`${gatehouse.url}/introspect`, { token: 'x' }, client));
    const seconds = Math.ceil((performance.now() - began) / 1_000);
    assert.ok(answers.filter(({ status }) => status === 429).length >= 10 - seconds);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('client_id', '=', client.client_id)
      .where('outcome', '=', 'refused')
      .execute();
    assert.deepEqual([...new Set(events.map(({ event }) => event))], ['client.throttled']);
    assert.ok(events.length <= 1 + seconds);
  });

  it('is the client itself: a sender that only names it does not use up its requests', async () => {
    const gatehouse = await startWith({
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '1',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '3',
    });
    const client = await registerClient(gatehouse);
    const guess = { ...client, client_secret: 'wrong' };
    assert.deepEqual(statuses(await askOften(10, () => ask(gatehouse, guess))), [401]);
    assert.equal((await ask(gatehouse, client)).status, 200);
  });
});

describe('an address that asks too often', () => {
  const environment = { GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '1', GATEHOUSE_ADDRESS_REQUESTS_BURST: '30' };
  /** All at the same time, so that the bucket is not refilled in between. */
  const flood = (request: (index: number) => Promise<Response>): Promise<Response[]> =>
    Promise.all(Array.from({ length: 60 }, (_, index) => request(index)));

  it('is told when to retry, as a program or as a browser', async () => {
    const gatehouse = await startWith(environment);
    const answers = await flood(() => fetch(`${gatehouse.url}/authorize`));
    assert.deepEqual(new Set(statuses(answers)), new Set([400, 429]));
    const refused = answers.find(({ status }) => status === 429)!;
    assert.equal(Number(refused.headers.get('retry-after')) >= 1, true);
    assert.match(refused.headers.get('x-request-id') ?? '', /^[\w-]{36}$/);
    const pages = await askOften(10, () =>
      fetch(`${gatehouse.url}/account?x`, { headers: { accept: 'text/html,*/*' }, redirect: 'manual' }),
    );
    const page = pages.find(({ status }) => status === 429)!;
    assert.match(await page.text(), /Try again in a moment/);
    const counted = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    const ofPages = /^gatehouse_http_requests_total\{method="GET",route="\/account",status="429"\} (\d+)$/m.exec(
      counted,
    );
    assert.equal(Number(ofPages?.[1]), pages.filter(({ status }) => status === 429).length);
  });

  it('does not pay for clients that prove themselves: many may stand behind one gateway', async () => {
    const gatehouse = await startWith(environment);
    const client = await registerClient(gatehouse);
    assert.deepEqual(statuses(await askOften(60, () => ask(gatehouse, client))), [200]);
    assert.deepEqual(statuses(await askOften(60, () => ask(gatehouse, client, '?ordinary'))), [200]);
    assert.deepEqual(statuses(await askOften(60, () => ask(gatehouse, { ...client, client_secret: 'x' }))), [401, 429]);
    assert.equal((await ask(gatehouse, client)).status, 200);
  });

  it('causes no more reads of clients: naming one after the other reads no row', async () => {
    const gatehouse = await startWith(environment);
    const strangers = await Promise.all(Array.from({ length: 4 }, () => registerClient(gatehouse)));
    const answers = await flood((index) => ask(gatehouse, { client_id: `client${index}`, client_secret: 'x' }));
    assert.deepEqual(new Set(statuses(answers)), new Set([401, 429]));
    // this node has not read them yet, so it does not know whether they are clients
    const unheard = await Promise.all(strangers.map((stranger) => ask(gatehouse, stranger)));
    assert.equal(statuses(unheard).includes(429), true);
    await delay(1_100);
    assert.deepEqual(statuses(await askOften(5, () => ask(gatehouse, strangers[0]!))), [200]);
  });
});

describe('a node that has too much to do', () => {
  it('says so at once, and serves again when it has caught up', async () => {
    const gatehouse = await startWith({ GATEHOUSE_OVERLOAD_MILLISECONDS: '10' });
    const client = await registerClient(gatehouse);
    // blocks this process, which is the node's too, again and again
    let busy = true;
    const block = (): void => {
      const until = performance.now() + 60;
      while (performance.now() < until);
      if (busy) setImmediate(block);
    };
    block();
    await delay(700);
    const refused = await ask(gatehouse, client);
    busy = false;
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get('retry-after'), '1');
    // this machine may be busy with something else, too
    await eventually(async () => (await ask(gatehouse, client)).status === 200);
    assert.equal((await fetch(`${gatehouse.managementUrl}/healthz`)).status, 200);
  });
});
