import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { redeem, requestCode } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { BANK, openBank, PAYMENT, PAYMENT_TYPE, type Payments } from '../support/client/payments.ts';

type Body = Readonly<Record<string, unknown>>;

interface Told {
  readonly status: number;
  readonly error?: string;
  readonly error_description?: string;
}

describe('authorization details from an unknown sender', () => {
  let gatehouse: Gatehouse;
  let bank: Payments;
  before(async () => {
    gatehouse = await startGatehouse();
    bank = await openBank(gatehouse);
  });
  after(() => gatehouse.stop());

  /** At all three endpoints that take them. */
  const everywhere = async (authorization_details: string): Promise<Told[]> => {
    const form = { authorization_details, resource: BANK };
    const answers = [
      await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', ...form }, bank.treasury),
      await postForm(
        `${gatehouse.url}/par`,
        {
          client_id: bank.shop.client_id,
          response_type: 'code',
          redirect_uri: 'https://app.example.com/callback',
          ...pkce,
          ...form,
        },
        bank.shop,
      ),
    ];
    const told = await Promise.all(
      answers.map(async (answer): Promise<Told> => ({ ...((await answer.json()) as object), status: answer.status })),
    );
    const { callback } = await requestCode(gatehouse, bank.shop, { scope: '', parameters: form });
    return [...told, { ...Object.fromEntries(callback.searchParams), status: 400 }];
  };
  const pkce = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' };

  const json = (...all: readonly unknown[]): string => JSON.stringify(all);
  const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });
  const cases: Readonly<Record<string, string>> = {
    'no JSON': '{',
    'a word': 'payment',
    'an object in place of an array': JSON.stringify(PAYMENT),
    'a number': '7',
    'null in the array': '[null]',
    'an array in the array': '[[]]',
    'no type': json({ amount: PAYMENT.amount }),
    'a type that is no string': json({ ...PAYMENT, type: ['payment'] }),
    'a type that is not registered': json({ ...PAYMENT, type: 'Payment' }),
    'a type that JavaScript knows': json({ ...PAYMENT, type: 'constructor' }),
    'a type that every object has': json({ ...PAYMENT, type: '__proto__' }),
    'a member that the schema doesn’t name': json({ ...PAYMENT, evil: '<script>alert(1)</script>' }),
    'such a member further in': json({ ...PAYMENT, amount: { ...PAYMENT.amount, evil: 1 } }),
    'a member of the wrong type': json({ ...PAYMENT, payee: 1 }),
    'a required member left out': json({ type: 'payment', payee: 'x' }),
    'an amount in other digits': json({ ...PAYMENT, amount: { value: '１２.00', currency: 'EUR' } }),
    'an action that the schema doesn’t list': json({ ...PAYMENT, actions: ['initiate', 'everything'] }),
    'locations of another API': json({ ...PAYMENT, locations: ['https://evil.example.com'] }),
    'locations that are almost ours': json({ ...PAYMENT, locations: [`${BANK}//`] }),
    'no locations at all': json({ ...PAYMENT, locations: [] }),
    'locations that are no array': json({ ...PAYMENT, locations: BANK }),
    'a member twice, for two readers': `[{"type":"payment","amount":{"value":"1.00","currency":"EUR"},"payee":"A","payee":"B"}]`,
    'a type twice': `[{"type":"evil","type":"payment","amount":{"value":"1.00","currency":"EUR"},"payee":"A"}]`,
    'a name that means something to JavaScript': `[{"type":"payment","__proto__":{},"amount":{"value":"1.00","currency":"EUR"},"payee":"A"}]`,
    'a NUL': json({ ...PAYMENT, payee: 'a\0b' }),
    'half a surrogate pair': String.raw`[{"type":"payment","amount":{"value":"1.00","currency":"EUR"},"payee":"\ud800"}]`,
    'one good and one bad': json(PAYMENT, { ...PAYMENT, payee: '' }),
    'too many': json(...Array.from({ length: 21 }, () => ({ ...PAYMENT, payee: 'x' }))),
    'too much': json({ ...PAYMENT, reference: 'r'.repeat(2_000), more: { text: 'x'.repeat(6_000) } }),
    'too deep': json({ ...PAYMENT, more: nested(20) }),
    'a long list': json({ ...PAYMENT, more: { list: Array.from({ length: 101 }, () => 1) } }),
    'a number that is none': `[{"type":"payment","amount":{"value":"1.00","currency":"EUR"},"payee":"A","more":{"n":1e999}}]`,
  };
  for (const [what, given] of Object.entries(cases)) {
    it(`are refused wherever they come, with ${what}`, async () => {
      for (const answer of await everywhere(given)) {
        assert.deepEqual([answer.status, answer.error], [400, 'invalid_authorization_details'], JSON.stringify(answer));
        const description = answer.error_description ?? '';
        assert.match(description, /^[\x20\x21\x23-\x5B\x5D-\x7E]+$/);
        assert.doesNotMatch(description, /evil|script|everything|１/);
      }
    });
  }

  it('that are an empty array ask for nothing', async () => {
    const form = { grant_type: 'client_credentials', authorization_details: '[]', resource: BANK };
    const answer = await postForm(`${gatehouse.url}/token`, form, bank.treasury);
    const body = (await answer.json()) as Body;
    assert.equal(answer.status, 200);
    assert.equal('authorization_details' in body, false);
  });

  it('are given once: twice in a request is refused', async () => {
    const form = new URLSearchParams({ grant_type: 'client_credentials', resource: BANK });
    form.append('authorization_details', json(PAYMENT));
    form.append('authorization_details', json(PAYMENT));
    const { client_id, client_secret } = bank.treasury;
    const authorization = `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`;
    const answer = await fetch(`${gatehouse.url}/token`, { method: 'POST', headers: { authorization }, body: form });
    assert.equal(answer.status, 400);
    assert.equal(((await answer.json()) as Body)['error'], 'invalid_request');
  });

  it('in a token are still read by introspection when they are as large as they may be', async () => {
    const long = { ...PAYMENT, reference: 'r'.repeat(1_500), more: { text: '€'.repeat(2_000) } };
    const form = { grant_type: 'client_credentials', authorization_details: json(long), resource: BANK };
    const answer = (await (await postForm(`${gatehouse.url}/token`, form, bank.treasury)).json()) as Body;
    assert.deepEqual(answer['authorization_details'], [long]);
    const told = await postForm(
      `${gatehouse.url}/introspect`,
      { token: String(answer['access_token']) },
      bank.treasury,
    );
    assert.equal(((await told.json()) as Body)['active'], true);
  });

  it('that an admin takes away are in no later token: not by refresh, and not where the code was given before', async () => {
    const parameters = { authorization_details: json(PAYMENT) };
    const begin = () => requestCode(gatehouse, bank.shop, { scope: '', parameters });
    const held = (await (await redeem(gatehouse.url, bank.shop, await begin())).json()) as Body;
    const late = await begin();
    const path = `/clients/${bank.shop.client_id}`;
    assert.equal((await bank.admin.patch(path, { authorization_details_types: [] })).status, 200);

    const refresh = { grant_type: 'refresh_token', refresh_token: String(held['refresh_token']) };
    const refreshed = (await (await postForm(`${gatehouse.url}/token`, refresh, bank.shop)).json()) as Body;
    const redeemed = (await (await redeem(gatehouse.url, bank.shop, late)).json()) as Body;
    for (const body of [refreshed, redeemed]) {
      assert.equal('authorization_details' in body, false, JSON.stringify(body));
      assert.equal('authorization_details' in decodeJwt(String(body['access_token'])), false);
    }
    assert.equal((await bank.admin.patch(path, { authorization_details_types: ['payment'] })).status, 200);
  });

  it('are judged by the same types on every node, a moment after an admin has changed them', async () => {
    const second = await startGatehouse({ beside: gatehouse, withoutNotify: true });
    const schema = { ...PAYMENT_TYPE.schema, required: ['amount', 'payee', 'reference'] };
    assert.equal((await bank.admin.patch('/authorization-details-types/payment', { schema })).status, 200);
    const form = { grant_type: 'client_credentials', authorization_details: json(PAYMENT), resource: BANK };
    const status = async (url: string) => {
      const answer = await postForm(`${url}/token`, form, bank.treasury);
      await answer.body?.cancel();
      return answer.status;
    };
    try {
      assert.equal(await status(gatehouse.url), 400);
      await eventually(async () => (await status(second.url)) === 400);
    } finally {
      await second.stop();
    }
  });
});
