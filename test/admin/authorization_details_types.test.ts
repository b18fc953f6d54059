import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { BANK, LEDGER, openBank, PAYMENT_TYPE } from '../support/client/payments.ts';

const PATH = '/authorization-details-types';

describe('types of authorization details in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let clientId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    const bank = await openBank(gatehouse);
    admin = bank.admin;
    clientId = bank.shop.client_id;
  });
  after(() => gatehouse.stop());

  const create = (type: string, changed: Readonly<Record<string, unknown>> = {}) =>
    admin.post(PATH, { ...PAYMENT_TYPE, type, ...changed });
  const at = (type: string): string => `${PATH}/${encodeURIComponent(type)}`;

  it('are made, listed in pages, shown, changed and deleted', async () => {
    const type = 'https://standards.example.com/consents#v1';
    const made = await create(type, { resources: [BANK] });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.headers.get('location')?.endsWith(at(type)), true);
    const { created_at: _, updated_at: __, ...shown } = (await admin.get(at(type))).body;
    assert.deepEqual(shown, { ...PAYMENT_TYPE, type, resources: [BANK] });

    const page = await admin.get(`${PATH}?limit=1`);
    assert.deepEqual(
      page.body.items.map((item) => item['type']),
      [type],
    );
    const next = await admin.get(`${PATH}?limit=1&cursor=${page.body.next_cursor}`);
    assert.deepEqual(
      next.body.items.map((item) => item['type']),
      ['payment'],
    );

    const etag = made.headers.get('etag')!;
    const changed = await admin.patch(at(type), { title: 'Read it', description: null }, { 'if-match': etag });
    assert.equal(changed.status, 200, changed.text);
    assert.deepEqual([changed.body['title'], changed.body['description']], ['Read it', null]);
    assert.equal((await admin.patch(at(type), { title: 'Late' }, { 'if-match': etag })).status, 412);
    assert.equal((await admin.delete(at(type))).status, 204);
    assert.equal((await admin.get(at(type))).status, 404);
  });

  it('are there once, and known when the answer is', async () => {
    assert.equal((await create('payment')).status, 409);
    const names = async () => {
      const response = await fetch(`${gatehouse.url}/.well-known/openid-configuration`);
      return ((await response.json()) as { authorization_details_types_supported: string[] })
        .authorization_details_types_supported;
    };
    assert.equal((await create('one')).status, 201);
    assert.deepEqual(await names(), ['one', 'payment']);
    assert.equal((await admin.delete(at('one'))).status, 204);
    assert.deepEqual(await names(), ['payment']);
  });

  it('stay while a client may ask for them, and keep their resources', async () => {
    const held = await admin.delete(at('payment'));
    assert.equal(held.status, 409);
    assert.ok(held.body.detail.includes(clientId));
    const resource = await admin.delete(`/resources/${encodeURIComponent(LEDGER)}`);
    assert.equal(resource.status, 409);
  });

  it('keep a resource that no client has, with a reason', async () => {
    const identifier = 'https://lonely.example.com';
    await admin.post('/resources', { identifier, scopes: [{ name: 'x', description: 'X' }] });
    await create('lonely', { resources: [identifier] });
    const held = await admin.delete(`/resources/${encodeURIComponent(identifier)}`);
    assert.equal(held.status, 409);
    assert.match(held.body.detail, /lonely/);
    await admin.delete(at('lonely'));
    assert.equal((await admin.delete(`/resources/${encodeURIComponent(identifier)}`)).status, 204);
  });

  it('are given to clients that have one of their resources', async () => {
    const path = `/clients/${clientId}`;
    assert.deepEqual((await admin.get(path)).body['authorization_details_types'], ['payment']);
    for (const [types, detail] of [
      [['nothing'], /names a type that is not registered/],
      [['payment', 'payment'], /twice/],
    ] as const) {
      const refused = await admin.patch(path, { authorization_details_types: types });
      assert.equal(refused.status, 400);
      assert.match(refused.text, detail);
    }
    const without = await admin.post('/clients', { authorization_details_types: ['payment'] });
    assert.equal(without.status, 400);
    assert.equal(without.body.errors[0]?.pointer, '/authorization_details_types/0');
  });

  const scheme = (properties: object, more: object = {}) => ({
    title: 'A title',
    schema: { type: 'object', properties, ...more },
  });
  const bad: Readonly<Record<string, readonly [Readonly<Record<string, unknown>>, string]>> = {
    'a reference, to anywhere': [scheme({}, { $ref: 'https://evil.example.com/schema' }), '/schema'],
    'a reference to itself': [scheme({ a: { $ref: '#' } }), '/schema/properties/a/type'],
    'what a pattern takes for ever with': [
      scheme({ a: { type: 'string', pattern: '^(a+)+$' } }),
      '/schema/properties/a/pattern',
    ],
    'a pattern that divides a text in too many ways': [
      scheme({ a: { type: 'string', pattern: '^a{0,99}a{0,99}a{0,99}$' } }),
      '/schema/properties/a/pattern',
    ],
    'patterns for names': [scheme({}, { patternProperties: { '^(a+)+$': { type: 'string' } } }), '/schema'],
    'keywords that don’t go with the type': [scheme({ a: { type: 'string', minimum: 1 } }), '/schema'],
    'a member for our own': [scheme({ locations: { type: 'string' } }), '/schema'],
    'no object': [{ title: 'A title', schema: { type: 'string' } }, '/schema'],
    'too long a schema': [scheme({}, { description: 'x', enum: undefined, title: 'x'.repeat(17_000) }), '/schema'],
    'a title for what the schema doesn’t have': [{ title: 'Pay {nobody}' }, '/title'],
    'a title for what is no single value': [{ title: 'Pay {amount}' }, '/title'],
    'a title that hides something': [{ title: 'Pay \u202E{payee}' }, '/title'],
    'a name that can’t be told from ours': [{ type: '__proto__' }, '/type'],
    'a name with a space': [{ type: 'a b' }, '/type'],
    'no resource': [{ resources: [] }, '/resources'],
    'a resource that is not registered': [{ resources: ['https://nobody.example.com'] }, '/resources/0'],
    'an unknown member': [{ evil: true }, '/evil'],
  };
  for (const [what, [changed, pointer]] of Object.entries(bad)) {
    it(`are refused with ${what}, and told where`, async () => {
      const refused = await create('bad', changed);
      assert.equal(refused.status, 400, refused.text);
      assert.equal(refused.body.errors[0]?.pointer, pointer, refused.text);
      assert.equal((await admin.get(at('bad'))).status, 404);
    });
  }

  it('are refused in a change as they are when they are made', async () => {
    for (const change of [
      { title: 'Pay {nobody}' },
      { schema: { type: 'object' } },
      { resources: [] },
      { type: 'other' },
    ]) {
      const refused = await admin.patch(at('payment'), change);
      assert.equal(refused.status, 400, JSON.stringify(change));
    }
  });

  it('are for those who may read and set policies, each with its own scope', async () => {
    const reader = await admin.lesser('policies:read');
    const writer = await admin.lesser('policies:write');
    assert.equal((await reader.get(PATH)).status, 200);
    assert.equal((await reader.patch(at('payment'), { title: 'Mine' })).status, 403);
    assert.equal((await writer.get(PATH)).status, 403);
    assert.equal((await writer.patch(at('payment'), { description: 'Changed' })).status, 200);
  });

  it('leave what was done to them in the trail', async () => {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('event', 'like', 'authorization_details_type.%')
      .execute();
    const events = new Set<string>(rows.map(({ event }) => event));
    assert.deepEqual([...events].toSorted(), [
      'authorization_details_type.created',
      'authorization_details_type.deleted',
      'authorization_details_type.updated',
    ]);
    assert.ok(rows.every(({ details }) => typeof details['type'] === 'string'));
  });
});
