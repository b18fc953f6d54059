import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { TOKEN_EXCHANGE } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { Fapi2Client, type Answer } from '../support/client/fapi2.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import { BANK, openBank, PAYMENT } from '../support/client/payments.ts';
import { ACCESS_TOKEN, makePolicy } from '../support/client/exchanged_tokens.ts';

const name = (module: string): string => `(fapi2-security-profile-final-${module})`;
const LEVEL = PASSWORD_ACR;

describe('a client with profile fapi2', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const idToken = async (client: Fapi2Client, claims: object): Promise<Readonly<Record<string, unknown>>> => {
    const { status, body } = await client.redeem(await client.code({ claims: JSON.stringify(claims) }));
    assert.equal(status, 200, JSON.stringify(body));
    return decodeJwt(String(body['id_token']));
  };

  it(`gets the identity claims that it asks for one by one ${name('test-claims-parameter-identity-claims')}`, async () => {
    const client = await Fapi2Client.register(gatehouse);
    const claims = await idToken(client, { id_token: { email: null, email_verified: { essential: true } } });
    assert.equal(claims['email'], gatehouse.account.email);
    assert.equal(typeof claims['email_verified'], 'boolean');
  });

  it(`gets the acr that it calls essential, or an error that says so ${name('test-essential-acr-sca-claim')}`, async () => {
    const client = await Fapi2Client.register(gatehouse);
    const { acr } = await idToken(client, { id_token: { acr: { essential: true, values: [LEVEL] } } });
    assert.equal(acr, LEVEL);
    const sca = 'urn:openbanking:psd2:sca';
    const pushed = await client.push({
      claims: JSON.stringify({ id_token: { acr: { essential: true, value: sca } } }),
    });
    const answer = await client.answerTo(pushed);
    assert.deepEqual([answer.get('error'), answer.get('code')], ['unmet_authentication_requirements', null]);
  });

  it('may ask for one payment in detail, in a pushed request', async () => {
    await openBank(gatehouse);
    const client = await Fapi2Client.register(gatehouse, {
      resources: [{ resource: BANK, scopes: ['accounts:read'] }],
      authorization_details_types: ['payment'],
    });
    const details = { authorization_details: JSON.stringify([PAYMENT]), resource: BANK };
    const { status, body } = await client.redeem(await client.code(details));
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(body['authorization_details'], [PAYMENT]);
    const { cnf, authorization_details } = decodeJwt(String(body['access_token']));
    assert.deepEqual([cnf, authorization_details], [{ jkt: client.proofKey.thumbprint }, [PAYMENT]]);
  });

  describe('that exchanges tokens', () => {
    const orders = 'https://orders.example.com';
    let client: Fapi2Client;
    let subject: string;
    before(async () => {
      await registerResource(gatehouse, 'orders', { access_token_ttl_seconds: 3_600 });
      await registerResource(gatehouse, 'billing', { access_token_ttl_seconds: 3_600 });
      await registerResource(gatehouse, 'legacy', { signing_alg: 'RS256' });
      client = await Fapi2Client.register(gatehouse, {
        grant_types: [TOKEN_EXCHANGE, 'client_credentials'],
        redirect_uris: [],
        resources: [{ resource: orders, scopes: ['orders:read'] }],
      });
      const admin = await Admin.of(gatehouse);
      for (const to of ['billing', 'legacy']) {
        await makePolicy(admin, 'exchange-policies', {
          client_id: client.clientId,
          subject_resource: orders,
          resource: `https://${to}.example.com`,
          scopes: [{ scope: `${to}:read`, from: 'orders:read' }],
          mode: 'delegation',
        });
      }
      subject = String((await client.post('/token', { grant_type: 'client_credentials' })).body['access_token']);
    });
    const exchange = (to: string): Promise<Answer> =>
      client.post('/token', {
        grant_type: TOKEN_EXCHANGE,
        subject_token: subject,
        subject_token_type: ACCESS_TOKEN,
        resource: `https://${to}.example.com`,
      });

    it('gets bound ones that live ten minutes at most', async () => {
      const { status, body } = await exchange('billing');
      assert.equal(status, 200, JSON.stringify(body));
      assert.deepEqual(decodeJwt(String(body['access_token']))['cnf'], { jkt: client.proofKey.thumbprint });
      assert.ok(Number(body['expires_in']) <= 600, `${String(body['expires_in'])} seconds`);
    });

    it('gets none that would be signed with RS256', async () => {
      const { status, body } = await exchange('legacy');
      assert.deepEqual([status, body['error']], [400, 'invalid_target'], JSON.stringify(body));
    });
  });
});
