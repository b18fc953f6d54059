import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import {
  makePolicy,
  makeToken,
  register,
  send,
  type Json,
  type RegistrationAnswer,
} from '../support/client/registration.ts';

const CIBA = 'urn:openid:params:grant-type:ciba';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const PUBLIC_JWK = {
  kty: 'EC',
  crv: 'P-256',
  x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
  alg: 'ES256',
};
const FAPI2: Json = {
  profile: 'fapi2',
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [PUBLIC_JWK] },
  dpop_bound_access_tokens: true,
};

describe('what a client that registers itself may take', () => {
  let gatehouse: Gatehouse;
  let token: string;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, { name: 'usual' });
    token = (await makeToken(gatehouse, 'usual', { uses: 100 })).initial_access_token;
  });
  after(() => gatehouse.stop());

  const refusedMember = async (metadata: Json): Promise<string | undefined> => {
    const { status, body } = await register(gatehouse, metadata, token);
    assert.deepEqual([status, body.error], [400, 'invalid_client_metadata']);
    return body.error_description?.split(/[ /]/)[0];
  };
  const put = (client: RegistrationAnswer['body'], metadata: Json): Promise<RegistrationAnswer> =>
    send(
      'PUT',
      client.registration_client_uri,
      { client_id: client.client_id, redirect_uris: client['redirect_uris'], ...metadata },
      client.registration_access_token,
    );
  const admin = async (method: string, { client_id }: RegistrationAnswer['body'], body?: Json): Promise<Json> => {
    const response = await gatehouse.adminCall(method, `/clients/${client_id}`, body);
    assert.equal(response.status, 200);
    return (await response.json()) as Json;
  };

  it('is nothing that only an admin settles: to be let off PKCE, or what it may ask for in detail', async () => {
    assert.equal(await refusedMember({ pkce_exemption: { reason: 'because' } }), 'pkce_exemption');
    assert.equal(await refusedMember({ authorization_details_types: ['payment'] }), 'authorization_details_types');
    const { body: client } = await register(gatehouse, {}, token);
    const { status, body } = await put(client, { pkce_exemption: { reason: 'because' } });
    assert.deepEqual([status, body.error], [400, 'invalid_client_metadata']);
  });

  it('is no grant type of which the policy says nothing', async () => {
    for (const grantType of [CIBA, TOKEN_EXCHANGE, JWT_BEARER, 'client_credentials']) {
      const mode = grantType === CIBA ? { backchannel_token_delivery_mode: 'poll' } : {};
      const { status, body } = await register(
        gatehouse,
        { grant_types: ['authorization_code', grantType], ...mode },
        token,
      );
      assert.equal(status, 201, body.error_description);
      assert.deepEqual(body['grant_types'], ['authorization_code'], grantType);
      assert.equal(await refusedMember({ grant_types: [grantType], redirect_uris: [], ...mode }), 'grant_types');
    }
    await makePolicy(gatehouse, { name: 'asking', grant_types: ['authorization_code', CIBA] });
    const asking = await makeToken(gatehouse, 'asking');
    const { status, body } = await register(
      gatehouse,
      { grant_types: ['authorization_code', CIBA], backchannel_token_delivery_mode: 'poll' },
      asking.initial_access_token,
    );
    assert.equal(status, 201, body.error_description);
  });

  it('is no grant type without a person who began it, where registration is open', async () => {
    for (const grantType of [CIBA, TOKEN_EXCHANGE, JWT_BEARER, 'client_credentials']) {
      for (const open of ['open_registration', 'client_id_metadata_documents']) {
        const policy = { name: 'reckless', [open]: true, grant_types: ['authorization_code', grantType] };
        const response = await gatehouse.adminCall('POST', '/registration-policies', policy);
        assert.equal(response.status, 400, `${grantType} ${open}`);
        assert.match(await response.text(), /must not contain .* in a policy that is open without a token/);
      }
    }
  });

  it('is no algorithm without a key, be it said at once or in an update', async () => {
    const { body: client } = await register(gatehouse, {}, token);
    for (const member of [
      'id_token_signed_response_alg',
      'userinfo_signed_response_alg',
      'introspection_signed_response_alg',
      'authorization_signed_response_alg',
    ]) {
      assert.equal(await refusedMember({ [member]: 'PS256' }), member);
      const { status, body } = await put(client, { [member]: 'PS256' });
      assert.deepEqual([status, body.error], [400, 'invalid_client_metadata'], member);
      assert.match(body.error_description ?? '', new RegExp(`^${member} names an algorithm`));
    }
  });

  it('is the profile fapi2, with all that it demands', async () => {
    const { body: client, status } = await register(gatehouse, FAPI2, token);
    assert.equal(status, 201, client.error_description);
    assert.equal(client['profile'], 'fapi2');
    assert.equal(client['require_pushed_authorization_requests'], true);
    assert.equal(await refusedMember({ ...FAPI2, dpop_bound_access_tokens: false }), 'dpop_bound_access_tokens');
    assert.equal(await refusedMember({ profile: 'fapi2' }), 'token_endpoint_auth_method');
  });

  it('is not its freedom from what an admin has demanded of it', async () => {
    const { profile: _, dpop_bound_access_tokens: __, ...usual } = FAPI2;
    const { body: client } = await register(gatehouse, usual, token);
    const hardened = { profile: 'fapi2', dpop_bound_access_tokens: true, require_signed_request_object: true };
    await admin('PATCH', client, hardened);
    const softer = { profile: null, dpop_bound_access_tokens: false, require_signed_request_object: false };
    const { status, body } = await put(client, { ...usual, ...softer });
    assert.equal(status, 200, body.error_description);
    const refused = await put(body, { ...usual, require_pushed_authorization_requests: false });
    assert.deepEqual([refused.status, refused.body.error], [400, 'invalid_client_metadata']);
    const held = await admin('GET', client);
    for (const [member, value] of Object.entries(hardened)) assert.equal(held[member], value, member);
    assert.equal(held['require_pushed_authorization_requests'], true);
  });
});
