import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RateLimiter, type ProvenClient } from '../../src/limits/rate_limiter.ts';
import { registerApplication, REDIRECT_URI } from '../support/client/code_flow.ts';
import { postForm } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { makePolicy, send } from '../support/client/registration.ts';
import { countedAt } from '../support/node/workers.ts';

const BURST = 30;
const CHALLENGE = { code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' };

/** Each asks as a client with a secret does, in a way that is answered with 2xx. */
const REQUESTS = {
  '/par': { response_type: 'code', redirect_uri: REDIRECT_URI, scope: 'openid', ...CHALLENGE },
  '/introspect': { token: 'not.a.token' },
  '/revoke': { token: 'not.a.token' },
  // in a form that the fast path hands over
  '/introspect?ordinary': { token: 'not.a.token' },
} as const;

const FAST: ReadonlySet<string> = new Set(['/introspect', '/revoke']);

describe('clients with secrets that registered themselves', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair({
      GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '1',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: String(BURST),
    });
    await makePolicy(pair.a, { name: 'open', open_registration: true });
  });
  after(() => pair.stop());

  async function registerItself(address: string): Promise<RegisteredClient> {
    const metadata = { redirect_uris: [REDIRECT_URI] };
    const { status, body } = await send('POST', `${pair.a.url}/register`, metadata, undefined, {
      'x-forwarded-for': address,
    });
    assert.equal(status, 201);
    return { client_id: body.client_id, client_secret: body.client_secret! };
  }

  async function ask(client: RegisteredClient, path: keyof typeof REQUESTS, address: string): Promise<Response> {
    const answer = await postForm(`${pair.b.url}${path}`, { client_id: client.client_id, ...REQUESTS[path] }, client, {
      'x-forwarded-for': address,
    });
    if (!answer.ok && answer.status !== 429) assert.fail(await answer.text());
    await answer.body?.cancel();
    return answer;
  }

  for (const [index, path] of (Object.keys(REQUESTS) as (keyof typeof REQUESTS)[]).entries()) {
    it(`pay from the share of their address at ${path}, however many they are (FIELD-B5)`, async () => {
      const address = `203.0.113.${index + 1}`;
      const clients = [await registerItself(address), await registerItself(address), await registerItself(address)];
      const vetted = await registerApplication(pair.a);
      const began = performance.now();
      const answers: Response[] = [];
      for (let n = 0; n < BURST + 20; n++) answers.push(await ask(clients[n % 3]!, path, address));
      const seconds = Math.ceil((performance.now() - began) / 1_000);
      const served = answers.filter(({ ok }) => ok).length;
      assert.ok(served >= BURST - 1 && served <= BURST + seconds, `${served} were served in ${seconds} s`);
      const refused = answers.filter(({ status }) => status === 429);
      assert.equal(refused.length, answers.length - served);
      assert.match(refused.at(-1)!.headers.get('ratelimit')!, /^"address";r=0;t=\d+$/);

      // an address must have something left for a client that the node has not met, and off the fast path
      assert.ok((await ask(vetted, path, '198.51.100.99')).ok, 'a client of an admin has nothing to do with that');
      if (FAST.has(path)) assert.ok((await ask(vetted, path, address)).ok, 'at the same address neither');
      const elsewhere = await registerItself('198.51.100.7');
      assert.ok((await ask(elsewhere, path, `198.51.100.${index + 8}`)).ok, 'and another address neither');
    });
  }

  it('were served on the fast path too', async () => {
    const lean = await countedAt(pair.b, 'gatehouse_lean_answers_total');
    assert.ok(lean >= 2 * (BURST - 1), `${lean}`);
  });
});

describe('the requests of one client that wait for one another', () => {
  const client = (clientId: string, selfRegistered: boolean, address: string): ProvenClient => ({
    clientId,
    selfRegistered,
    address,
  });

  /** How many requests of these clients begin at once, beside another client. */
  async function begin(clients: readonly ProvenClient[]): Promise<number> {
    const generous = { perSecond: 1_000, burst: 1_000 };
    const traffic = new RateLimiter({ perClient: generous, perAddress: generous, latestMilliseconds: 10_000 });
    await traffic.turn(client('another', false, '203.0.113.99'));
    const turns = clients.map((one) => traffic.turn(one));
    traffic.stop();
    return turns.filter((turn) => turn === undefined).length;
  }

  const many = (selfRegistered: boolean, address: (index: number) => string): ProvenClient[] =>
    Array.from({ length: 10 }, (_, index) => client(`client-${index}`, selfRegistered, address(index)));

  it('are those of all clients of one address that registered themselves (FIELD-B5)', async () => {
    assert.equal(await begin(many(true, () => '203.0.113.1')), 4);
    assert.equal(await begin(many(true, (index) => `2001:db8::${index}`)), 4);
    assert.equal(await begin(many(true, (index) => `203.0.113.${index}`)), 10);
    assert.equal(await begin(many(false, () => '203.0.113.1')), 10);
  });
});
