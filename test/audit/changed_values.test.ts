import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { changedValues } from '../../src/audit/changed_values.ts';
import { ClientMetadataShape } from '../../src/clients/metadata/client_metadata.ts';
import { RECORDED_MEMBERS } from '../../src/clients/metadata/recorded_members.ts';
import { Admin, type Body } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const ISSUER = 'https://issuer.example';
const API = 'https://api.example';

interface Changed {
  readonly members: readonly string[];
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
}

describe('a change on record', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    await make('/resources', { identifier: API, scopes: [{ name: 'a:read', description: 'Read' }] });
  });
  after(() => gatehouse.stop());

  async function make(path: string, body: object): Promise<Body> {
    const answer = await admin.post(path, body);
    assert.equal(answer.status, 201, answer.text);
    return answer.body;
  }

  /** Changes something, and answers with what the trail says of that. */
  async function changed(path: string, patch: object): Promise<Changed> {
    const answer = await admin.patch(path, patch);
    assert.equal(answer.status, 200, answer.text);
    const { body } = await admin.get(`/audit-events?request_id=${answer.headers.get('x-request-id')}`);
    const { members, before: was, after: is } = body.items[0]!['details'] as Changed;
    return { members: members.toSorted(), before: was, after: is };
  }

  it('shows what a client was before and is afterwards, but for people’s addresses (FIELD-E6)', async () => {
    const { client_id } = await make('/clients', {
      client_name: 'Before',
      contacts: ['old@example.com'],
      redirect_uris: ['https://a.example/cb'],
    });
    const patch = { client_name: 'After', contacts: ['new@example.com'], client_uri: 'https://a.example/' };
    assert.deepEqual(await changed(`/clients/${client_id}`, patch), {
      members: ['client_name', 'client_uri', 'contacts'],
      before: { client_name: 'Before' },
      after: { client_name: 'After', client_uri: 'https://a.example/' },
    });
    assert.deepEqual((await changed(`/clients/${client_id}`, { client_uri: null })).before, {
      client_uri: 'https://a.example/',
    });
  });

  it('shows the same of a resource, a type, a trusted issuer and the policies (FIELD-E6)', async () => {
    const values = async (path: string, patch: object) => {
      const { before: was, after: is } = await changed(path, patch);
      return [was, is];
    };
    assert.deepEqual(await values(`/resources/${encodeURIComponent(API)}`, { access_token_ttl_seconds: 60 }), [
      { access_token_ttl_seconds: 600 },
      { access_token_ttl_seconds: 60 },
    ]);
    await make('/authorization-details-types', {
      type: 'payment',
      title: 'A payment',
      schema: { type: 'object', properties: {}, required: [], additionalProperties: false },
      resources: [API],
    });
    assert.deepEqual(await values('/authorization-details-types/payment', { title: 'One payment' }), [
      { title: 'A payment' },
      { title: 'One payment' },
    ]);
    const jwk = await exportJWK((await generateKeyPair('ES256')).publicKey);
    const keys = [{ ...jwk, kid: 'a', alg: 'ES256', use: 'sig' }];
    const purposes = ['jwt_bearer'];
    await make('/trusted-issuers', { issuer: ISSUER, display_name: 'One', algs: ['ES256'], purposes, jwks: { keys } });
    assert.deepEqual(await values(`/trusted-issuers/${encodeURIComponent(ISSUER)}`, { display_name: 'Two' }), [
      { display_name: 'One' },
      { display_name: 'Two' },
    ]);
    const { client_id } = await make('/clients', { client_name: 'Trades', grant_types: ['client_credentials'] });
    const policy = await make('/assertion-policies', {
      client_id,
      issuer: ISSUER,
      subject_account: 'external',
      resource: API,
      scopes: ['a:read'],
      max_ttl_seconds: 60,
    });
    assert.deepEqual(await values(`/assertion-policies/${String(policy['policy_id'])}`, { max_ttl_seconds: 90 }), [
      { max_ttl_seconds: 60 },
      { max_ttl_seconds: 90 },
    ]);
    await make('/registration-policies', { name: 'partners' });
    const [was, is] = await values('/registration-policies/partners', { clients_at_most: 7 });
    assert.equal(is?.['clients_at_most'], 7);
    assert.equal(typeof was?.['clients_at_most'], 'number');
  });

  it('names the members of an account that were changed, and tells nothing about the person (FIELD-E6)', async () => {
    const { account_id } = await make('/accounts', { email: 'before@example.com', name: 'Before' });
    const patch = { email: 'after@example.com', name: 'After', email_verified: true };
    assert.deepEqual(await changed(`/accounts/${account_id}`, patch), {
      members: ['email', 'email_verified', 'name'],
      before: { email_verified: false },
      after: { email_verified: true },
    });
  });

  it('is bounded in size: a long value is cut and says so', () => {
    const long = 'x'.repeat(5_000);
    const { before: was, after: is } = changedValues(
      ['a', 'b', 'c'],
      { a: long, b: 1, c: null },
      { a: 'y', b: 1, c: 2 },
    );
    assert.deepEqual(Object.keys(was), ['a']);
    assert.match(String(was['a']), /^"x{1999}… \(cut, of 5002 characters\)$/);
    assert.deepEqual(is, { a: 'y', c: 2 });
    const many = Array.from({ length: 100 }, (_, n) => `m${n}`);
    const values = Object.fromEntries(many.map((name) => [name, long]));
    assert.ok(JSON.stringify(changedValues(many, values, {})).length < 30_000);
  });

  it('has every member of a client’s metadata, or leaves it out on purpose', () => {
    const left = Object.keys(ClientMetadataShape.shape).filter(
      (member) => !(RECORDED_MEMBERS as readonly string[]).includes(member),
    );
    assert.deepEqual(left, ['contacts']);
  });
});
