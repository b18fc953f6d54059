import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure, REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { addressOf, pushRequest, VERIFIER, type Form } from '../support/client/pushed_requests.ts';

/** A browser that the load balancer always leads to the same node. */
class PersonAt extends Person {
  readonly #from: string;
  readonly #to: string;

  constructor(gatehouse: Gatehouse, node: Gatehouse) {
    super(gatehouse);
    this.#from = gatehouse.issuer;
    this.#to = node.url;
  }

  override fetch(url: string | URL, init: RequestInit = {}): Promise<Response> {
    return super.fetch(String(url).replace(this.#from, this.#to), init);
  }
}

describe('a request_uri', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    client = await registerApplication(gatehouse);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const push = (changed: Form = {}): Promise<string> => pushRequest(gatehouse, client, changed);
  const urlOf = (request_uri: string, who = client, more: Readonly<Record<string, string>> = {}): string =>
    addressOf(gatehouse, who, request_uri, more);
  /** The server refuses on its own page and redirects the person nowhere. */
  const refusesToOpen = async (url: string, code = 'invalid_request_uri'): Promise<void> => {
    const { url: at, response, page } = await new Person(gatehouse).open(url);
    assert.deepEqual([response.status, at], [400, url]);
    assert.match(page, new RegExp(code));
  };

  it('PAR-10: is worth one login: opened again after that, it is refused', async () => {
    const url = urlOf(await push());
    const person = new Person(gatehouse);
    assert.match((await person.authorize(url)).search, /[?&]code=/);
    await refusesToOpen(url);
    const again = await person.open(url);
    assert.deepEqual([again.response.status, again.url], [400, url]);
  });

  it('may be opened again before a person has logged in with it (FAPI 2.0)', async () => {
    const url = urlOf(await push());
    const person = new Person(gatehouse);
    for (let visit = 0; visit < 3; visit++) assert.match((await person.open(url)).url, /\/interaction\//);
    const callback = await person.authorize(url);
    assert.equal(callback.searchParams.get('state'), 'the-state');
    assert.match(callback.searchParams.get('code') ?? '', /^[\w-]{43}$/);
  });

  it('that six windows of a logged-in person use at once on two nodes gives one of them a code', async () => {
    const person = new Person(gatehouse);
    await person.authorize(urlOf(await push()));
    const url = urlOf(await push());
    const windows = Array.from({ length: 6 }, (_, index) => {
      const browser = new PersonAt(gatehouse, index % 2 ? second : gatehouse);
      for (const [name, cookie] of person.cookies) browser.cookies.set(name, cookie);
      return browser;
    });
    const callbacks = await Promise.all(windows.map((browser) => browser.walk(url)));
    const outcomes = callbacks.map(({ url: at, page }) => {
      if (!at.startsWith(REDIRECT_URI)) return /invalid_request_uri/.exec(page)?.[0];
      const answer = new URL(at).searchParams;
      return answer.has('code') ? 'code' : answer.get('error');
    });
    assert.equal(outcomes.filter((outcome) => outcome === 'code').length, 1);
    assert.deepEqual(new Set(outcomes), new Set(['code', 'invalid_request_uri']));
  });

  it('gives one code to two windows that were left open for half an hour', async () => {
    const url = urlOf(await push());
    const people = [new Person(gatehouse), new Person(gatehouse)] as const;
    const pages = await Promise.all(people.map((person) => person.open(url)));
    moveClock(1_500);
    await removeExpiredRows(gatehouse.database, new Date());
    const [first, late] = [await people[0].walk(pages[0]!.url), await people[1].walk(pages[1]!.url)];
    assert.match(first.url, /[?&]code=/);
    assert.equal(new URL(late.url).searchParams.get('error'), 'invalid_request_uri');
    assert.equal(new URL(late.url).searchParams.get('code'), null);
  });

  it('whose row is gone gives no code, since it may have been used', async () => {
    const person = new Person(gatehouse);
    const { url: page } = await person.open(urlOf(await push()));
    await gatehouse.database.deleteFrom('artifacts').where('kind', '=', 'PushedAuthorizationRequest').execute();
    const { url } = await person.walk(page);
    assert.equal(new URL(url).searchParams.get('error'), 'invalid_request_uri');
  });

  it('PAR-12: has expired after a minute', async () => {
    const url = urlOf(await push());
    moveClock(61);
    await refusesToOpen(url);
  });

  it('works up to the end of that minute, and the login may take longer', async () => {
    const url = urlOf(await push());
    moveClock(55);
    const person = new Person(gatehouse);
    const { url: page } = await person.open(url);
    moveClock(600);
    assert.match((await person.walk(page)).url, /[?&]code=/);
  });

  it('belongs to its client: another one gets nothing with it, and it still works', async () => {
    const other = await registerApplication(gatehouse);
    const request_uri = await push();
    const { url } = await new Person(gatehouse).open(urlOf(request_uri, other));
    assert.equal(url.includes('/interaction/'), false);
    assert.match((await new Person(gatehouse).authorize(urlOf(request_uri))).search, /[?&]code=/);
  });

  it('that no client was given is refused', async () => {
    const request_uri = await push();
    for (const id of ['x', '', `${request_uri.split(':').at(-1)!}x`, '%00', '../..']) {
      await refusesToOpen(urlOf(`urn:ietf:params:oauth:request_uri:${id}`));
    }
  });

  it('is the whole request: what stands beside it in the address counts for nothing', async () => {
    const evil = { redirect_uri: 'https://evil.example/cb', scope: 'openid email', state: 'other', nonce: 'other' };
    const url = urlOf(await push(), client, { ...evil, code_challenge: 'x'.repeat(43) });
    const { url: at } = await new Person(gatehouse).walk(url);
    assert.equal(at.startsWith('https://evil.example'), false);
    const beside = { scope: 'openid email', state: 'other', code_challenge: 'x'.repeat(43) };
    const callback = await new Person(gatehouse).authorize(urlOf(await push(), client, beside));
    assert.equal(callback.searchParams.get('state'), 'the-state');
    const config = await configure(gatehouse, client);
    const checks = { pkceCodeVerifier: VERIFIER, expectedState: 'the-state' };
    assert.equal((await openid.authorizationCodeGrant(config, callback, checks)).scope, 'openid');
  });

  it('is nowhere in the database, and neither is what was pushed, not even while a login waits', async () => {
    const state = 'a-state-that-is-easy-to-find';
    const request_uri = await push({ state, login_hint: 'somebody@example.com' });
    await new Person(gatehouse).open(urlOf(request_uri));
    const stored = await everythingStored(gatehouse.database);
    const kinds = stored.filter(({ where }) => where === 'artifacts.kind').map(({ text }) => text);
    assert.equal(kinds.includes('PushedAuthorizationRequest') && kinds.includes('Interaction'), true);
    const id = request_uri.split(':').at(-1)!;
    for (const secret of [id, state, 'somebody@example.com']) {
      for (const disguise of [secret, Buffer.from(secret).toString('base64url').slice(0, -2)]) {
        assert.equal(stored.find(({ text }) => text.includes(disguise))?.where, undefined, secret);
        assert.equal(
          gatehouse.log.find((line) => line.includes(disguise)),
          undefined,
          secret,
        );
      }
    }
  });
});
