import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify, type JWTPayload } from 'jose';
import { athOf, prove } from '../support/client/dpop.ts';
import { Fapi2Client, type Form } from '../support/client/fapi2.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person, type PersonOptions } from '../support/person/person.ts';
import { fillInProfile, PROFILE } from '../support/client/relying_party.ts';

type Members = Readonly<Record<string, unknown>>;

describe('FAPI 2.0 message signing: requests, answers and introspection are signed', () => {
  let gatehouse: Gatehouse;
  let client: Fapi2Client;
  before(async () => {
    gatehouse = await startGatehouse();
    await fillInProfile(gatehouse);
    client = await Fapi2Client.register(gatehouse, {
      require_signed_request_object: true,
      introspection_signed_response_alg: 'ES256',
    });
  });
  after(() => gatehouse.stop());

  /** Verifies as an independent client does: our JWKS, the issuer, itself as audience, the profile's algorithms. */
  const verified = async (jwt: string | null): Promise<JWTPayload> => {
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const expected = { issuer: gatehouse.issuer, audience: client.clientId, algorithms: ['ES256', 'PS256', 'EdDSA'] };
    return (await jwtVerify(jwt ?? '', jwks, expected)).payload;
  };
  /** What a signed request is answered with, that asked for a signed answer; `beside` stands unsigned in the address. */
  const answerTo = async (claims: Members = {}, person: PersonOptions = {}, beside: Form = {}): Promise<JWTPayload> => {
    const pushed = await client.pushSigned({ claims: { response_mode: 'jwt', ...claims } });
    const { searchParams } = await new Person(gatehouse, person).authorize(client.urlOf(pushed, beside));
    assert.deepEqual([...searchParams.keys()], ['response']);
    return verified(searchParams.get('response'));
  };
  const redeem = async ({ code }: JWTPayload): Promise<Members> => {
    const { status, body } = await client.redeem(String(code));
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  };
  const userinfo = async (token: string): Promise<Members> => {
    const url = `${gatehouse.issuer}/userinfo`;
    const DPoP = await prove(client.proofKey, ['GET', url], { claims: { ath: athOf(token) } });
    const response = await fetch(url, { headers: { authorization: `DPoP ${token}`, DPoP } });
    assert.equal(response.status, 200);
    return (await response.json()) as Members;
  };
  const introspection = async (token: string): Promise<unknown> => {
    const response = await fetch(`${gatehouse.issuer}/introspect`, {
      method: 'POST',
      headers: { accept: 'application/token-introspection+jwt' },
      body: new URLSearchParams({
        token,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await client.assertion(),
      }),
    });
    return (await verified(await response.text()))['token_introspection'];
  };

  it('through the whole flow (fapi2-security-profile-final-happy-flow)', async () => {
    const answer = await answerTo();
    assert.deepEqual([answer.iss, answer['state']], [gatehouse.issuer, 'the-state']);
    const { access_token, id_token, token_type } = await redeem(answer);
    assert.equal(token_type, 'DPoP');
    const { sub } = await userinfo(String(access_token));
    assert.equal(decodeJwt(String(id_token)).sub, sub);
    const { active, cnf } = (await introspection(String(access_token))) as Members;
    assert.deepEqual([active, cnf], [true, { jkt: client.proofKey.thumbprint }]);
  });

  it('when the person refuses (fapi2-security-profile-final-user-rejects-authentication)', async () => {
    const { error, state, code } = await answerTo({}, { decision: 'deny' });
    assert.deepEqual([error, state, code], ['access_denied', 'the-state', undefined]);
  });

  it('when the request is in error, too', async () => {
    const { error, state } = await answerTo({ prompt: 'none' });
    assert.deepEqual([error, state], ['login_required', 'the-state']);
  });

  it('with the state of the signed request or none (fapi2-security-profile-final-state-only-outside-request-object-not-used)', async () => {
    assert.equal('state' in (await answerTo({ state: undefined }, {}, { state: 'outside' })), false);
  });

  it('and no request parameter on the way takes the signature off the answer', async () => {
    const answer = await answerTo({}, {}, { response_mode: 'query' });
    assert.equal(typeof answer['code'], 'string');
  });

  it('with claims asked for one by one, each told where it was asked for (fapi2-security-profile-final-test-claims-parameter-identity-claims)', async () => {
    const claims = {
      id_token: { given_name: { essential: true }, birthdate: null },
      userinfo: { family_name: null, address: { essential: true }, phone_number: null },
    };
    const { access_token, id_token } = await redeem(await answerTo({ claims }));
    const identity = decodeJwt(String(id_token));
    assert.deepEqual([identity['given_name'], identity['birthdate']], [PROFILE.given_name, PROFILE.birthdate]);
    const { family_name, address, phone_number } = PROFILE;
    for (const name of ['family_name', 'address', 'phone_number']) assert.equal(name in identity, false, name);
    assert.deepEqual(await userinfo(String(access_token)), { sub: identity.sub, family_name, address, phone_number });
  });
});
