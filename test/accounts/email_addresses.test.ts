import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { canonicalEmail } from '../../src/base/email_address.ts';
import { Admin } from '../support/client/admin.ts';
import { askRaw, registerTill } from '../support/client/backchannel.ts';
import { registerApplication, requestCode } from '../support/client/code_flow.ts';
import { JWT_BEARER, makePolicy, present } from '../support/client/exchanged_tokens.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const PASSWORD = 'correct horse battery';
const UNICODE = 'kunde@München.example';
const ASCII = 'kunde@xn--mnchen-3ya.example';

describe('an e-mail address with an international domain', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    const account = { email: UNICODE, email_verified: true, password: PASSWORD };
    const { status, text, body } = await admin.post('/accounts', account);
    assert.equal(status, 201, text);
    assert.equal(body['email'], ASCII);
    accountId = body.account_id;
  });
  after(() => gatehouse.stop());

  const WRITTEN = [UNICODE, ASCII, 'KUNDE@MÜNCHEN.EXAMPLE', ` kunde@mu\u0308nchen\u3002example `];

  it('is one address, however it is written (FIELD-D3)', async () => {
    for (const email of WRITTEN) assert.equal((await admin.post('/accounts', { email })).status, 409, email);
    const { body } = await admin.post('/accounts', { email: 'mover@example.com' });
    for (const email of WRITTEN) {
      assert.equal((await admin.patch(`/accounts/${body.account_id}`, { email })).status, 409, email);
    }
    const same = await admin.patch(`/accounts/${accountId}`, { email: UNICODE });
    assert.deepEqual([same.status, same.body['email_verified']], [200, true], 'it is no new address');
  });

  it('logs its owner in, however it is typed (FIELD-D3)', async () => {
    const client = await registerApplication(gatehouse);
    for (const email of WRITTEN) {
      const person = new Person(gatehouse, { account: { email, password: PASSWORD } });
      assert.notEqual((await requestCode(gatehouse, client, { person })).code, '', email);
    }
  });

  it('is one account for the limit on guesses, however it is typed (FIELD-D3)', async () => {
    const { status } = await admin.post('/accounts', { email: 'ziel@köln.example', password: PASSWORD });
    assert.equal(status, 201);
    const statuses = [];
    for (let guess = 0; guess < 6; guess++) {
      const email = guess % 2 === 0 ? 'ziel@köln.example' : 'ziel@xn--kln-sna.example';
      const person = new Person(gatehouse);
      const { url } = await person.open(`${gatehouse.issuer}/account/login`);
      statuses.push((await person.submit(`${url}/login`, { email, password: 'guess' })).response.status);
    }
    assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429]);
  });

  it('is known as a hint of whom to ask over the backchannel (FIELD-D3)', async () => {
    const till = await registerTill(gatehouse);
    for (const login_hint of WRITTEN) {
      assert.equal((await askRaw(gatehouse, till, { scope: 'openid', login_hint })).status, 200, login_hint);
    }
  });

  it('fills the login form as a login_hint, and logs in from there (FIELD-D3)', async () => {
    const client = await registerApplication(gatehouse);
    const person = new Person(gatehouse);
    const query = authorizationRequest(client, { login_hint: UNICODE });
    const { url, page } = await person.open(`${gatehouse.issuer}/authorize?${query}`);
    const [, email = ''] = /name="email"[^>]* value="([^"]*)"/.exec(page) ?? [];
    assert.equal(email, UNICODE);
    const answer = await person.fetch(`${url}/login`, {
      method: 'POST',
      body: new URLSearchParams({ email, password: PASSWORD }),
    });
    assert.equal(answer.status, 303);
  });

  it('names the person whom a trusted issuer has verified, on either side (FIELD-D3)', async () => {
    const resource = 'https://reports.example.com';
    await registerResource(gatehouse, 'reports');
    const issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
    for (const domain of ['münchen.example', 'xn--mnchen-3ya.example']) {
      const client = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
      await makePolicy(admin, 'assertion-policies', {
        client_id: client.client_id,
        issuer: issuer.issuer,
        resource,
        scopes: ['reports:read'],
        subject_account: 'verified_email',
        email_domains: [domain],
      });
      for (const email of [UNICODE, ASCII]) {
        const assertion = await issuer.assert({ claims: { email, email_verified: true } });
        const { status, body } = await present(gatehouse, client, assertion);
        assert.equal(status, 200, `${email} for ${domain}: ${JSON.stringify(body)}`);
      }
      for (const email of ['kunde@munchen.example', 'kunde@münchen.example/x', 'kunde@m%C3%BCnchen.example']) {
        const assertion = await issuer.assert({ claims: { email, email_verified: true } });
        assert.equal((await present(gatehouse, client, assertion)).status, 400, email);
      }
    }
  });

  const LETTERS = ['mün', 'ünchen.ex', 'MU\u0308N', 'nchen.example', 'kunde@mün', 'nde@münchen\u3002ex', '@mü'];
  it('is found by a search for any part of it (FIELD-D3)', async () => {
    for (const q of [
      'münchen',
      'MÜNCHEN.example',
      '@münchen.ex',
      'unde@münchen.example',
      'xn--mnchen',
      'kunde',
      ...LETTERS,
    ]) {
      const { body } = await admin.get(`/accounts?${new URLSearchParams({ q })}`);
      assert.ok(
        body.items.some((account) => account.account_id === accountId),
        q,
      );
    }
    for (const q of ['ünchex', '@ünchen', 'unde@ünchen', 'x@mün', 'kun_e@mün', '%@mün', 'münchen.example@']) {
      assert.deepEqual((await admin.get(`/accounts?${new URLSearchParams({ q })}`)).body.items, [], q);
    }
  });

  it('may be a contact of an application (FIELD-D3)', async () => {
    const contacts = ['admin@münchen.example', "o'neil&sons/2@example.com"];
    const client = { client_name: 'x', grant_types: ['client_credentials'], contacts };
    assert.equal((await admin.post('/clients', client)).status, 201);
    assert.equal((await admin.post('/clients', { ...client, contacts: ['not an address'] })).status, 400);
  });
});

describe('the part of an e-mail address before the @', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  it('has any character of a dot-atom of RFC 5322 (FIELD-D3)', async () => {
    for (const local of [
      'jo&co',
      'a/b',
      'x!y',
      '#1',
      '$',
      "d'arc",
      'a*b',
      'n=1',
      'why?',
      'a^b',
      'a`b',
      '{a}',
      'a|b',
      '~',
      'a.b+c',
    ]) {
      const { status, body } = await admin.post('/accounts', { email: `${local}@example.com`, password: PASSWORD });
      assert.deepEqual([status, body['email']], [201, `${local}@example.com`], local);
    }
    const client = await registerApplication(gatehouse);
    const person = new Person(gatehouse, { account: { email: 'jo&co@example.com', password: PASSWORD } });
    assert.notEqual((await requestCode(gatehouse, client, { person })).code, '');
  });

  it('is refused where it is no dot-atom, and where it is not ASCII (FIELD-D3)', async () => {
    for (const email of [
      '.a@example.com',
      'a.@example.com',
      'a..b@example.com',
      'a b@example.com',
      '"a b"@example.com',
      'a@b@c.example',

      'a@',
      '@example.com',
      'a',
      'a@localhost',
      'a@-x.example',
      'a@x..example',
      'a@[127.0.0.1]',
      'a@1.2.3.4',
      'a@exam%70le.com',
      'a@exämple.com/x',
      'a@exämple.com:25',
      'a@ex ämple.com',
      'a@exam\u200dple.com',
      `${'a'.repeat(65)}@example.com`,
      `${'a'.repeat(32)}.${'b'.repeat(32)}@example.com`,
      `a@${'b'.repeat(64)}.example`,
      `a@example.${'c'.repeat(64)}`,
      'a\0@example.com',
    ]) {
      const { status, body } = await admin.post('/accounts', { email });
      assert.deepEqual([status, body.errors[0]?.pointer], [400, '/email'], email);
    }
    const { status, text } = await admin.post('/accounts', { email: 'müller@example.com' });
    assert.equal(status, 400);
    assert.match(text, /the part before the @ must be ASCII/);
    for (const [email, says] of [
      [`${'a'.repeat(65)}@example.com`, /the part before the @ must not exceed 64 characters/],
      [`a@${'b'.repeat(64)}.example`, /no part of the domain may exceed 63 characters/],
    ] as const) {
      assert.match((await admin.post('/accounts', { email })).text, says);
    }
  });

  it('has up to 64 characters, and each label of the domain up to 63 (FIELD-D3)', async () => {
    for (const email of [`${'a'.repeat(64)}@example.com`, `a@${'b'.repeat(63)}.${'c'.repeat(63)}.example`]) {
      assert.equal((await admin.post('/accounts', { email })).status, 201, email);
    }
  });

  it('never becomes another person’s in lower case (FIELD-D3)', () => {
    // the Kelvin sign, whose lower case is a k, and the dotless i, whose upper case is an I
    assert.equal(canonicalEmail('\u212aim@example.com'), '\u212aim@example.com');
    assert.notEqual(canonicalEmail('\u0131van@example.com'), 'ivan@example.com');
    assert.equal(canonicalEmail('Ada@\u212aoeln.example'), 'ada@koeln.example', 'in a domain it is a k (UTS 46)');
  });
});
