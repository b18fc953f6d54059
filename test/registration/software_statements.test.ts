import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey } from 'jose';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import {
  auditEvents,
  makePolicy,
  makeToken,
  REDIRECT,
  register,
  send,
  type Json,
} from '../support/client/registration.ts';

const ISSUER = 'https://directory.example';
const OTHER_ISSUER = 'https://other.example';

describe('a software statement', () => {
  let gatehouse: Gatehouse;
  let key: CryptoKey;
  let token: string;
  before(async () => {
    gatehouse = await startGatehouse();
    const pair = await generateKeyPair('ES256', { extractable: true });
    key = pair.privateKey;
    const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'k', alg: 'ES256' }] };
    for (const issuer of [ISSUER, OTHER_ISSUER]) {
      const trusted = { issuer, display_name: 'Directory', jwks, algs: ['ES256'], purposes: ['software_statement'] };
      const made = await gatehouse.adminCall('POST', '/trusted-issuers', trusted);
      assert.equal(made.status, 201, await made.text());
    }
    await makePolicy(gatehouse, {
      name: 'directory',
      software_statement: 'required',
      software_statement_issuers: [ISSUER],
      clients_at_most: 100,
    });
    token = (await makeToken(gatehouse, 'directory', { uses: 100 })).initial_access_token;
  });
  after(() => gatehouse.stop());

  const sign = (claims: Json = {}, header: { alg?: string; typ?: string } = {}, signer = key): Promise<string> => {
    const now = Math.floor(Date.now() / 1000);
    const all = {
      iss: ISSUER,
      iat: now,
      exp: now + 300,
      software_id: 'billing',
      client_name: 'Billing (checked)',
      ...claims,
    };
    const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return new SignJWT(given).setProtectedHeader({ alg: 'ES256', kid: 'k', ...header }).sign(signer);
  };
  const bring = (software_statement: unknown, metadata: Json = {}) =>
    register(gatehouse, { ...metadata, software_statement }, token);

  it('comes before what the client says itself, and is given back as it came (RFC 7591, 2.3)', async () => {
    const statement = await sign({ aud: gatehouse.issuer, redirect_uris: ['https://checked.example.com/cb'] });
    const { status, body } = await bring(statement, { client_name: 'Your Bank', contacts: ['a@example.com'] });
    assert.equal(status, 201, body.error_description);
    assert.equal(body['client_name'], 'Billing (checked)');
    assert.deepEqual(body['redirect_uris'], ['https://checked.example.com/cb']);
    assert.deepEqual(body['contacts'], ['a@example.com']);
    assert.equal(body['software_id'], 'billing');
    assert.equal(body['software_statement'], statement);
    const [event] = await auditEvents(gatehouse, 'client.registered');
    assert.equal((event?.['details'] as Json | undefined)?.['software_statement_issuer'], ISSUER);
  });

  it('stands, even if the client changes its metadata afterwards', async () => {
    const statement = await sign();
    const { body: client } = await bring(statement);
    const put = (metadata: Json, rat: string) =>
      send(
        'PUT',
        client.registration_client_uri,
        { client_id: client.client_id, redirect_uris: [REDIRECT], ...metadata },
        rat,
      );
    const another = await put(
      { software_statement: await sign({ client_name: 'Another' }) },
      client.registration_access_token,
    );
    assert.equal(another.body.error, 'invalid_client_metadata');
    const changed = await put(
      { client_name: 'Your Bank', software_statement: statement },
      client.registration_access_token,
    );
    assert.equal(changed.status, 200, changed.body.error_description);
    assert.equal(changed.body['client_name'], 'Billing (checked)');
    assert.equal(changed.body['software_statement'], statement);
  });

  it('is demanded by a policy that demands it', async () => {
    const { status, body } = await register(gatehouse, {}, token);
    assert.deepEqual([status, body.error], [400, 'invalid_software_statement']);
  });

  it('is refused when it is not good', async () => {
    const past = Math.floor(Date.now() / 1000) - 60;
    const stranger = (await generateKeyPair('ES256')).privateKey;
    const unsigned = new UnsecuredJWT({ iss: ISSUER }).setExpirationTime('5m').encode();
    const parts = (await sign()).split('.');
    const forged = [
      parts[0],
      Buffer.from(JSON.stringify({ iss: ISSUER, exp: 9e9 })).toString('base64url'),
      parts[2],
    ].join('.');
    const hmac = await new SignJWT({ iss: ISSUER })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('5m')
      .sign(Buffer.alloc(32));
    const bad: readonly (readonly [string, unknown])[] = [
      ['expired', await sign({ exp: past })],
      ['without an end', await sign({ exp: undefined })],
      ['for another server', await sign({ aud: 'https://another.example' })],
      ['signed by a stranger', await sign({}, {}, stranger)],
      ['unsigned (CVE-2026-11800)', unsigned],
      ['signed with a shared secret (CVE-2026-11800)', hmac],
      ['changed after it was signed', forged],
      ['an access token', await sign({}, { typ: 'at+jwt' })],
      ['no JWT', 'nonsense'],
      ['no text', { iss: ISSUER }],
    ];
    for (const [what, statement] of bad) {
      const { status, body } = await bring(statement);
      assert.deepEqual([status, body.error], [400, 'invalid_software_statement'], what);
    }
  });

  it('is not approved from an issuer that is not trusted, or that the policy does not name', async () => {
    for (const iss of ['https://stranger.example', OTHER_ISSUER]) {
      const { status, body } = await bring(await sign({ iss }));
      assert.deepEqual([status, body.error], [400, 'unapproved_software_statement'], iss);
    }
  });

  it('is not approved from an issuer that was disabled (CVE-2026-1486)', async () => {
    const path = `/trusted-issuers/${encodeURIComponent(ISSUER)}`;
    await gatehouse.adminCall('PATCH', path, { disabled: true });
    const statement = await sign();
    await eventually(async () => (await bring(statement)).body.error === 'unapproved_software_statement');
    await gatehouse.adminCall('PATCH', path, { disabled: false });
    assert.equal((await bring(statement)).status, 201);
  });

  it('can’t give what only an admin can', async () => {
    const resources = [{ resource: gatehouse.admin.resource, scopes: ['clients:write'] }];
    const { status, body } = await bring(await sign({ resources }));
    assert.deepEqual([status, body.error], [400, 'invalid_client_metadata']);
    const wide = await bring(await sign({ scope: 'clients:write' }));
    assert.equal(wide.body['scope'], 'openid profile email offline_access');
  });

  it('is passed by where the policy does not look at any', async () => {
    await makePolicy(gatehouse, { name: 'plain' });
    const plain = (await makeToken(gatehouse, 'plain')).initial_access_token;
    const { status, body } = await register(
      gatehouse,
      { client_name: 'Mine', software_statement: await sign() },
      plain,
    );
    assert.equal(status, 201);
    assert.equal(body['client_name'], 'Mine');
    assert.equal('software_statement' in body, false);
  });

  describe('of an issuer that also vouches for people', () => {
    const path = `/trusted-issuers/${encodeURIComponent(ISSUER)}`;
    const trustFor = async (purposes: readonly string[]): Promise<void> => {
      assert.equal((await gatehouse.adminCall('PATCH', path, { purposes })).status, 200);
    };
    before(() => trustFor(['software_statement', 'jwt_bearer']));
    after(() => trustFor(['software_statement']));

    it('says by its type that it is one: what a person was given as an assertion registers no client', async () => {
      const assertion = {
        aud: gatehouse.issuer,
        sub: 'user-7',
        jti: 'one',
        software_id: undefined,
        client_name: undefined,
      };
      for (const typ of [undefined, 'JWT']) {
        const { status, body } = await bring(await sign(assertion, typ === undefined ? {} : { typ }));
        assert.deepEqual([status, body.error], [400, 'invalid_software_statement']);
        assert.match(String(body.error_description), /typ/);
      }
      const { status } = await bring(await sign({}, { typ: 'software-statement+jwt' }));
      assert.equal(status, 201);
    });

    it('says so in any case (FIELD-C11)', async () => {
      const { status, body } = await bring(await sign({}, { typ: 'Application/Software-Statement+JWT' }));
      assert.equal(status, 201, body.error_description);
    });
  });
});
