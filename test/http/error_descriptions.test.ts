import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { toErrorDescription } from '../../src/base/error_description.ts';
import { BANK, openBank, PAYMENT, PAYMENT_TYPE, type Payments } from '../support/client/payments.ts';
import { registerPublicApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { makePolicy, makeToken, register } from '../support/client/registration.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

/** RFC 6749, 5.2. */
const DESCRIPTION = /^[\x20\x21\x23-\x5B\x5D-\x7E]+$/;
const ODD = 'b\u00E9n\u00E9ficiaire\u2019s';
const WRITTEN = "bU+00E9nU+00E9ficiaire's";

describe('the description of an error', () => {
  let gatehouse: Gatehouse;
  let bank: Payments;
  before(async () => {
    gatehouse = await startGatehouse();
    bank = await openBank(gatehouse);
    const { schema } = PAYMENT_TYPE;
    const type = {
      ...PAYMENT_TYPE,
      type: 'odd',
      schema: { ...schema, properties: { ...schema.properties, [ODD]: { type: 'string' } } },
    };
    assert.equal((await bank.admin.post('/authorization-details-types', type)).status, 201);
    for (const { client_id } of [bank.shop, bank.treasury]) {
      const patch = { authorization_details_types: ['payment', 'odd'] };
      assert.equal((await bank.admin.patch(`/clients/${client_id}`, patch)).status, 200);
    }
  });
  after(() => gatehouse.stop());

  const authorization_details = JSON.stringify([{ ...PAYMENT, type: 'odd', [ODD]: 1 }]);

  it('writes a character that it may not have as one that looks alike, or as its code point, never as a question mark (FIELD-C13)', () => {
    assert.equal(toErrorDescription('can\u2019t "be" \\ \u2026'), "can't 'be' / ...");
    assert.equal(toErrorDescription('a\u00E9\u{1F600}\u0000\nb\u007F'), 'aU+00E9U+1F600U+0000 bU+007F');
    for (let at = 0; at < 0x3000; at++) {
      const written = toErrorDescription(String.fromCodePoint(at));
      assert.match(written, DESCRIPTION);
      assert.ok(written !== '?' || at === 0x3f);
    }
  });

  it('has only these characters at the token and PAR endpoints, also where it repeats a name of an admin (FIELD-C13)', async () => {
    const answers = [
      await postForm(
        `${gatehouse.url}/token`,
        { grant_type: 'client_credentials', resource: BANK, authorization_details },
        bank.treasury,
      ),
      await postForm(
        `${gatehouse.url}/par`,
        {
          client_id: bank.shop.client_id,
          response_type: 'code',
          redirect_uri: 'https://app.example.com/callback',
          code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
          code_challenge_method: 'S256',
          authorization_details,
        },
        bank.shop,
      ),
    ];
    for (const answer of answers) {
      const { error, error_description } = (await answer.json()) as Record<string, string>;
      assert.deepEqual([answer.status, error], [400, 'invalid_authorization_details']);
      assert.equal(error_description, `authorization_details[0]: ${WRITTEN} must be string`);
    }
  });

  it('has only these characters in an authorization response, in each response mode (FIELD-C13)', async () => {
    for (const response_mode of ['query', 'fragment', 'query.jwt', 'fragment.jwt']) {
      const parameters = { authorization_details, response_mode };
      const { callback } = await requestCode(gatehouse, bank.shop, { scope: '', parameters });
      const given = new URLSearchParams(callback.search || callback.hash.slice(1));
      const jwt = given.get('response');
      const description = jwt === null ? given.get('error_description') : decodeJwt(jwt)['error_description'];
      assert.equal(description, `authorization_details[0]: ${WRITTEN} must be string`, response_mode);
    }
  });

  it('has only these characters in a challenge, and where it repeats the origin of a page (FIELD-C13)', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, spa);
    const origin = 'https://"evil"\\\u00E9.example';
    for (const [path, init] of [
      ['/userinfo', { headers: { origin, authorization: `Bearer ${tokens.access_token}` } }],
      [
        '/revoke',
        { method: 'POST', headers: { origin }, body: new URLSearchParams({ client_id: spa.client_id, token: 'x' }) },
      ],
    ] as const) {
      const answer = await fetch(gatehouse.url + path, init);
      const { error_description: description } = (await answer.json()) as { error_description: string };
      assert.equal(answer.status, 400);
      assert.match(description, DESCRIPTION);
      assert.match(description, /^origin https:\/\/'evil'\/U\+00E9\.example not allowed/);
      const challenge = answer.headers.get('www-authenticate');
      if (challenge !== null) {
        const [, quoted = ''] = /error_description="((?:[^"\\]|\\.)*)"/.exec(challenge) ?? [];
        assert.match(quoted, DESCRIPTION);
      }
    }
  });

  it('has only these characters at the registration endpoint (FIELD-C13)', async () => {
    await makePolicy(gatehouse, { name: 'odd' });
    const { initial_access_token } = await makeToken(gatehouse, 'odd');
    const key = { kty: 'EC', crv: 'P-256', [`it\u2019s "odd" \\ \u00E9`]: 1 };
    const { status, body } = await register(gatehouse, { jwks: { keys: [key] } }, initial_access_token);
    assert.equal(status, 400);
    assert.match(body.error_description ?? '', DESCRIPTION);
    const code = await register(gatehouse, { response_types: [] }, initial_access_token);
    assert.equal(
      code.body.error_description,
      'response_types must contain code alone with the grant type authorization_code, and be empty otherwise',
    );
  });
});
