import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createPool } from '../../src/db/connection.ts';
import { FailedAuthentications } from '../../src/limits/failed_authentications.ts';
import { startGatehouse, postForm, type Gatehouse } from '../support/node/gatehouse.ts';
import { bringSecret, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { auditEvents, makePolicy, send } from '../support/client/registration.ts';

const PER_MINUTE = 4;
const environment = {
  GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
  GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: String(PER_MINUTE),
};
const ENDPOINTS = ['/token', '/introspect', '/revoke', '/par', '/device_authorization', '/backchannel_authentication'];

let hosts = 0;
/** An address that no request has come from yet. */
const anotherAddress = (): string => `192.0.2.${++hosts}`;

interface Asked {
  readonly from: string;
  readonly path?: string;
  readonly form?: Readonly<Record<string, string>>;
}

const FORM = { grant_type: 'client_credentials' };

function ask({ url }: Gatehouse, client: RegisteredClient | undefined, { from, path = '/token', form = FORM }: Asked) {
  return postForm(`${url}${path}`, form, client, { 'x-forwarded-for': from });
}

const wrong = ({ client_id }: RegisteredClient): RegisteredClient => ({ client_id, client_secret: 'wrong' });

async function statuses(times: number, request: () => Promise<Response>): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push((await request()).status);
  return all;
}

const so = (count: number, status: number): number[] => Array.from({ length: count }, () => status);

async function metric({ managementUrl }: Gatehouse, line: string): Promise<number> {
  const text = await (await fetch(`${managementUrl}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((one) => one.startsWith(`${line} `))
      ?.slice(line.length),
  );
}

describe('who fails to prove to be a client', () => {
  let gatehouse: Gatehouse;
  let beside: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment });
    beside = await startGatehouse({ environment, beside: gatehouse });
  });
  after(async () => {
    await beside.stop();
    await gatehouse.stop();
  });

  for (const path of ENDPOINTS) {
    it(`is told to wait after a few times at ${path}`, async () => {
      const client = await registerClient(gatehouse);
      const from = anotherAddress();
      const guess = () => ask(gatehouse, wrong(client), { from, path });
      assert.deepEqual(await statuses(PER_MINUTE + 1, guess), [...so(PER_MINUTE, 401), 429]);
      const refused = await guess();
      assert.equal(refused.status, 429);
      assert.equal(refused.headers.get('ratelimit-policy'), `"client_network_failures";q=${PER_MINUTE};w=60`);
      const seconds = Number(refused.headers.get('retry-after'));
      assert.ok(seconds >= 1 && seconds <= 60);
      assert.equal(refused.headers.get('ratelimit'), `"client_network_failures";r=0;t=${seconds}`);
      assert.equal(refused.headers.get('www-authenticate'), null);
      assert.equal(((await refused.json()) as { error: string }).error, 'temporarily_unavailable');
    });
  }

  it('is counted on all nodes together', async () => {
    const client = await registerClient(gatehouse);
    const from = anotherAddress();
    const nodes = [gatehouse, beside, gatehouse, beside];
    const answers = await Promise.all(nodes.map((node) => ask(node, wrong(client), { from })));
    assert.deepEqual(
      answers.map(({ status }) => status),
      so(4, 401),
    );
    assert.equal((await ask(beside, wrong(client), { from })).status, 429);
    assert.equal((await ask(gatehouse, wrong(client), { from })).status, 429);
  });

  it('does not learn from the limit whether there is such a client', async () => {
    const nobody = { client_id: 'nobody', client_secret: 'wrong' };
    const from = anotherAddress();
    const guess = () => ask(gatehouse, nobody, { from });
    assert.deepEqual(await statuses(PER_MINUTE + 2, guess), [...so(PER_MINUTE, 401), 429, 429]);
  });

  it('is let in with the right secret however often others, behind the same gateway too, had a wrong one', async () => {
    const client = await registerClient(gatehouse);
    const poster = await registerClient(gatehouse, { token_endpoint_auth_method: 'client_secret_post' });
    const from = anotherAddress();
    const posted = (client_secret: string) => ({ ...FORM, client_id: poster.client_id, client_secret });
    await statuses(PER_MINUTE * 3, () => ask(gatehouse, wrong(client), { from }));
    await statuses(PER_MINUTE * 3, () => ask(gatehouse, undefined, { from, form: posted('wrong') }));
    for (const query of ['', '?ordinary']) {
      const path = `/token${query}`;
      assert.equal((await ask(gatehouse, wrong(client), { from, path })).status, 429);
      assert.equal((await ask(gatehouse, client, { from, path })).status, 200);
      assert.equal((await ask(gatehouse, undefined, { from, path, form: posted('wrong') })).status, 429);
      assert.equal((await ask(gatehouse, undefined, { from, path, form: posted(poster.client_secret) })).status, 200);
    }
  });

  it('holds up no client elsewhere, which is told as before that a wrong secret is wrong', async () => {
    const client = await registerClient(gatehouse);
    await statuses(PER_MINUTE * 2, () => ask(gatehouse, wrong(client), { from: '198.51.100.1' }));
    assert.equal((await ask(gatehouse, wrong(client), { from: '198.51.100.2' })).status, 401);
  });

  it('is on record with the true reason until it is too much, then once, and is written down no more', async () => {
    const client = await registerClient(gatehouse);
    const from = anotherAddress();
    await statuses(PER_MINUTE + 2, () => ask(gatehouse, wrong(client), { from }));
    await statuses(3, () => ask(beside, wrong(client), { from }));
    const counts = async () =>
      (await gatehouse.database.selectFrom('failed_attempts').selectAll().orderBy('key').execute()).filter(
        ({ key }) => !key.startsWith('network'),
      );
    const then = await counts();
    await statuses(20, () => ask(gatehouse, wrong(client), { from, path: '/introspect' }));
    assert.deepEqual(await counts(), then);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('client_id', '=', client.client_id)
      .where('outcome', '=', 'refused')
      .orderBy('occurred_at')
      .execute();
    assert.deepEqual(
      events.map(({ event }) => event),
      [...so(PER_MINUTE, 401).map(() => 'token.refused'), 'client.authentication_throttled'],
    );
    const { limit, reason } = events.at(-1)!.details as Record<string, string>;
    assert.deepEqual([limit, reason], ['client_network_failures', 'invalid secret provided']);
  });

  it('is held to a limit for the whole network, for any client it names, and for a client, from any network', async () => {
    const from = anotherAddress();
    const many = PER_MINUTE * 10;
    const named = await statuses(many + 1, () =>
      ask(gatehouse, { client_id: `guessed-${Math.random()}`, client_secret: 'wrong' }, { from }),
    );
    assert.deepEqual(named, [...so(many, 401), 429]);
    const client = await registerClient(gatehouse);
    let host = 0;
    const spread = await statuses(many + 1, () => ask(gatehouse, wrong(client), { from: `203.0.113.${++host}` }));
    assert.deepEqual(spread, [...so(many, 401), 429]);
    assert.equal((await ask(gatehouse, client, { from: '203.0.113.200', path: '/token?ordinary' })).status, 200);
  });

  it('shows in the metrics', async () => {
    const then = await metric(gatehouse, 'gatehouse_authentications_failed_total{status="429"}');
    const client = await registerClient(gatehouse);
    const from = anotherAddress();
    await statuses(PER_MINUTE + 2, () => ask(gatehouse, wrong(client), { from }));
    assert.equal(await metric(gatehouse, 'gatehouse_authentications_failed_total{status="429"}'), then + 2);
    assert.ok((await metric(gatehouse, 'gatehouse_requests_refused_total{limit="failed_authentication"}')) >= 2);
  });

  it('is counted as an unknown client with an assertion in which a name is none, and breaks nothing', async () => {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    for (const sub of [{ toString: 1, valueOf: 1 }, [{ toString: 1 }], 5, { a: 1 }, true]) {
      const form = {
        ...FORM,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: `${part({ alg: 'ES256' })}.${part({ sub, iss: sub })}.AAAA`,
      };
      const answer = await ask(gatehouse, undefined, { from: anotherAddress(), form });
      assert.equal(answer.status, 401, JSON.stringify(sub));
    }
  });

  it('is refused where clients prove themselves alone: keys and pages stay open', async () => {
    const client = await registerClient(gatehouse);
    const from = anotherAddress();
    assert.equal((await statuses(PER_MINUTE + 1, () => ask(gatehouse, wrong(client), { from }))).at(-1), 429);
    // as a proxy passes it on that asks for passwords of its own
    const headers = { authorization: `Basic ${btoa(`${client.client_id}:wrong`)}`, 'x-forwarded-for': from };
    for (const path of ['/jwks', '/.well-known/openid-configuration', '/account?/token']) {
      assert.notEqual((await fetch(gatehouse.url + path, { headers })).status, 429, path);
    }
    assert.equal((await ask(gatehouse, wrong(client), { from, path: '/token?x' })).status, 429);
  });

  it('shares with all processes of a node what that writes down (FIELD-F9)', async () => {
    const pool = createPool({
      connectionString: gatehouse.databaseUrl,
      maxConnections: 5,
      // as long as a busy machine takes for all that wait
      connectionTimeoutMilliseconds: 60_000,
      onIdleError: () => {},
    });
    const heard = new Map<string, (key: string, count: number) => void>();
    const told: number[] = [];
    const failures = new FailedAuthentications(pool, 100_000, {
      workers: 2,
      report: (_limit, _key, count) => told.push(count),
      onReport: (limit, listener) => heard.set(limit, listener),
    });
    try {
      const fail = (): Promise<unknown> => failures.count('nobody', '192.0.2.250');
      // at one moment: what is given back in the meantime would depend on how busy this machine is
      const answers = await Promise.all(Array.from({ length: 40 }, fail));
      assert.deepEqual(new Set(answers), new Set([undefined]));
      assert.ok(told.length > 0);
      for (const listener of heard.values()) listener('', 2_000);
      assert.equal(((await fail()) as { status: number }).status, 429);
    } finally {
      await pool.end();
    }
  });

  it('is held up at registration too, with tokens that open nothing', async () => {
    await makePolicy(gatehouse, { name: 'partners' });
    const headers = { 'x-forwarded-for': anotherAddress() };
    const show = () =>
      send('GET', `${gatehouse.url}/register/client_x`, undefined, 'gatehouse_registration_x', headers);
    const answers = [];
    for (let i = 0; i < PER_MINUTE + 2; i++) answers.push(await show());
    assert.deepEqual(
      answers.map(({ status }) => status),
      [...so(PER_MINUTE, 401), 429, 429],
    );
    assert.ok(Number(answers.at(-1)!.headers.get('retry-after')) >= 1);
    assert.match(answers.at(-1)!.headers.get('ratelimit-policy') ?? '', /^"client_network_failures";q=4;w=60$/);
    assert.equal((await auditEvents(gatehouse, 'registration.throttled')).length, 1);
  });
});

describe('a secret that an operator chose, on a node that has not seen it yet', () => {
  const SECRET = 'chosen by hand, and long enough for it';
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: { ...environment, GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000' },
    });
  });
  after(() => gatehouse.stop());

  it('is looked at in a network where it was right before, however many guess elsewhere', async () => {
    const client = { client_id: (await registerClient(gatehouse)).client_id, client_secret: SECRET };
    await bringSecret(gatehouse, client.client_id, SECRET);
    assert.equal((await ask(gatehouse, client, { from: '192.0.2.7' })).status, 200);

    const fresh = await startGatehouse({ environment, beside: gatehouse });
    try {
      const guess = (n: number) =>
        ask(fresh, { ...client, client_secret: `${n} is no secret of this client` }, { from: `198.51.100.${n % 200}` });
      const answers = await Promise.all(Array.from({ length: 130 }, (_, n) => guess(n)));
      assert.ok(answers.some(({ status }) => status === 429));
      assert.equal((await guess(131)).status, 429);
      assert.equal((await ask(fresh, client, { from: '203.0.113.9' })).status, 429, 'it may be one more guess');
      assert.equal((await ask(fresh, client, { from: '192.0.2.7' })).status, 200);
      assert.equal((await ask(fresh, client, { from: '203.0.113.9' })).status, 200, 'and then it is known');
    } finally {
      await fresh.stop();
    }
  });

  it('is looked at once for all who show it at the same moment, and refused to none of them', async () => {
    const client = { client_id: (await registerClient(gatehouse)).client_id, client_secret: SECRET };
    await bringSecret(gatehouse, client.client_id, SECRET);
    const fresh = await startGatehouse({ environment, beside: gatehouse });
    try {
      const answers = await Promise.all(Array.from({ length: 40 }, () => ask(fresh, client, { from: '192.0.2.8' })));
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    } finally {
      await fresh.stop();
    }
  });
});
