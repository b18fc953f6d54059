import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose';
import * as openid from 'openid-client';
import { configure, REDIRECT_URI, redeem, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { BANK, LEDGER, openBank, PAYMENT, type Payments } from '../support/client/payments.ts';
import { Person } from '../support/person/person.ts';

type Body = Readonly<Record<string, unknown>>;

const details = (...all: readonly unknown[]) => ({ authorization_details: JSON.stringify(all) });

describe('rich authorization requests (RFC 9396)', () => {
  let gatehouse: Gatehouse;
  let bank: Payments;
  let resourceServer: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    bank = await openBank(gatehouse);
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [BANK] });
  });
  after(() => gatehouse.stop());

  const token = async (client: RegisteredClient, form: Readonly<Record<string, string>>) => {
    const response = await postForm(`${gatehouse.url}/token`, form, client);
    return { status: response.status, body: (await response.json()) as Body };
  };
  const refused = async (answer: Promise<{ status: number; body: Body }>, error = 'invalid_authorization_details') => {
    const { status, body } = await answer;
    assert.deepEqual([status, body['error']], [400, error], JSON.stringify(body));
  };
  const claimsOf = (body: Body) => decodeJwt(String(body['access_token']));
  /** A code of the shop for these details. */
  const pay = (detail: unknown = PAYMENT, parameters: Readonly<Record<string, string>> = {}, person?: Person) =>
    requestCode(gatehouse, bank.shop, {
      scope: '',
      parameters: { ...details(detail), ...parameters },
      ...(person && { person }),
    });
  const exchange = async (callback: Awaited<ReturnType<typeof pay>>, form: Readonly<Record<string, string>> = {}) => {
    const response = await redeem(gatehouse.url, bank.shop, callback, form);
    return { status: response.status, body: (await response.json()) as Body };
  };

  it('are in discovery, type by type', async () => {
    const read = async (): Promise<Body> =>
      (await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).json()) as Body;
    assert.deepEqual((await read())['authorization_details_types_supported'], ['payment']);
    const other = await startGatehouse();
    const without = await fetch(`${other.url}/.well-known/openid-configuration`);
    assert.equal('authorization_details_types_supported' in ((await without.json()) as Body), false);
    await other.stop();
  });

  describe('of the code flow', () => {
    it('end in a token that says exactly what the person allowed, for one API', async () => {
      const { tokens } = await signIn(gatehouse, bank.shop, { scope: '', parameters: details(PAYMENT) });
      assert.deepEqual(tokens['authorization_details'], [PAYMENT]);
      const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
      const { payload } = await jwtVerify(tokens.access_token, jwks, { issuer: gatehouse.issuer, audience: BANK });
      assert.deepEqual(payload['authorization_details'], [PAYMENT]);
      assert.equal('scope' in payload, false, 'who asks for a payment gets no scope with it');
    });

    it('go together with scopes', async () => {
      const parameters = { ...details(PAYMENT), resource: BANK };
      const { tokens } = await signIn(gatehouse, bank.shop, { scope: 'openid accounts:read', parameters });
      const claims = decodeJwt(tokens.access_token);
      assert.deepEqual([claims['scope'], claims['authorization_details']], ['accounts:read', [PAYMENT]]);
    });

    it('can be pushed (RFC 9126)', async () => {
      const config = await configure(gatehouse, bank.shop);
      const verifier = openid.randomPKCECodeVerifier();
      const url = await openid.buildAuthorizationUrlWithPAR(config, {
        redirect_uri: REDIRECT_URI,
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state: 's',
        ...details(PAYMENT),
      });
      const callback = await new Person(gatehouse).authorize(url);
      const checks = { pkceCodeVerifier: verifier, expectedState: 's' };
      const tokens = await openid.authorizationCodeGrant(config, callback, checks);
      assert.deepEqual(tokens['authorization_details'], [PAYMENT]);
    });

    it('can be signed (RFC 9101), as the array that they are', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
      const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] };
      const patched = await bank.admin.patch(`/clients/${bank.shop.client_id}`, { jwks });
      assert.equal(patched.status, 200, patched.text);
      const verifier = openid.randomPKCECodeVerifier();
      const request = await new SignJWT({
        client_id: bank.shop.client_id,
        response_type: 'code',
        redirect_uri: REDIRECT_URI,
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        authorization_details: [PAYMENT],
      })
        .setProtectedHeader({ alg: 'ES256', kid: 'k', typ: 'oauth-authz-req+jwt' })
        .setIssuer(bank.shop.client_id)
        .setAudience(gatehouse.issuer)
        .setExpirationTime('1m')
        .sign(privateKey);
      const query = new URLSearchParams({ client_id: bank.shop.client_id, request });
      const callback = await new Person(gatehouse).authorize(`${gatehouse.issuer}/authorize?${query}`);
      const code = callback.searchParams.get('code') ?? '';
      const { body } = await exchange({ code, verifier } as Awaited<ReturnType<typeof pay>>);
      assert.deepEqual(body['authorization_details'], [PAYMENT]);
    });

    it('are asked about every time, remembered or not, and never without a page', async () => {
      const person = new Person(gatehouse, { remember: true });
      await exchange(await pay(PAYMENT, {}, person));
      const pages = (): number => person.trace.filter((step) => /^POST .*\/consent 303$/.test(step)).length;
      const shown = pages();
      await exchange(await pay(PAYMENT, {}, person));
      assert.equal(pages(), shown + 1);
      const { callback } = await pay(PAYMENT, { prompt: 'none' }, person);
      assert.match(callback.searchParams.get('error') ?? '', /^(interaction|consent)_required$/);
    });

    it('do not inherit from an earlier one: what was allowed before is no part of the next grant', async () => {
      const person = new Person(gatehouse);
      const large = { ...PAYMENT, amount: { value: '999999.00', currency: 'EUR' } };
      await exchange(await pay(large, {}, person));
      const { body } = await exchange(await pay(PAYMENT, {}, person));
      assert.deepEqual(body['authorization_details'], [PAYMENT]);
      const { tokens } = await signIn(gatehouse, bank.shop, { scope: 'accounts:read', person });
      assert.equal('authorization_details' in decodeJwt(tokens.access_token), false);
    });

    it('are refused by the person like anything else', async () => {
      const { callback } = await pay(PAYMENT, {}, new Person(gatehouse, { decision: 'deny' }));
      assert.equal(callback.searchParams.get('error'), 'access_denied');
    });

    it('can be had in part at the token endpoint (6), never in excess', async () => {
      const less = { ...PAYMENT, actions: ['status'] };
      const { status, body } = await exchange(await pay(), details(less));
      assert.equal(status, 200, JSON.stringify(body));
      assert.deepEqual(body['authorization_details'], [less]);
      assert.deepEqual(claimsOf(body)['authorization_details'], [less]);
      for (const more of [
        { ...PAYMENT, amount: { value: '999999.00', currency: 'EUR' } },
        { ...PAYMENT, actions: ['initiate', 'status', 'cancel'] },
        { ...PAYMENT, reference: 'another' },
        { ...PAYMENT, payee: 'Merchant B' },
        { type: 'payment', amount: PAYMENT.amount, payee: PAYMENT.payee },
      ]) {
        await refused(exchange(await pay(), details(more)));
      }
      await refused(exchange(await pay(), details(PAYMENT, { ...PAYMENT, payee: 'Merchant B' })));
      // one payment was allowed: the API that executes what the token says must not find two
      await refused(exchange(await pay(), details(PAYMENT, PAYMENT)));
      await refused(exchange(await pay(), details(less, PAYMENT)));
    });

    it('stay the same over a refresh, can be had in part there, and never grow', async () => {
      const { body: first } = await exchange(await pay());
      const form = (refresh_token: unknown, more: Readonly<Record<string, string>> = {}) => ({
        grant_type: 'refresh_token',
        refresh_token: String(refresh_token),
        ...more,
      });
      const less = { ...PAYMENT, actions: ['status'] };
      const second = await token(bank.shop, form(first['refresh_token'], details(less)));
      assert.deepEqual(second.body['authorization_details'], [less]);
      const third = await token(bank.shop, form(second.body['refresh_token']));
      assert.deepEqual(claimsOf(third.body)['authorization_details'], [PAYMENT]);
      const more = { ...PAYMENT, payee: 'Merchant B' };
      await refused(token(bank.shop, form(third.body['refresh_token'], details(more))));
      await refused(token(bank.shop, form(third.body['refresh_token'], details(PAYMENT, PAYMENT))));
    });
  });

  describe('of a client for itself', () => {
    const ask = (form: Readonly<Record<string, string>>, client = bank.treasury) =>
      token(client, { grant_type: 'client_credentials', ...form });

    it('are in its token, filtered by where they are for', async () => {
      const atBank = { ...PAYMENT, locations: [BANK] };
      const { status, body } = await ask({ ...details(atBank), resource: BANK });
      assert.equal(status, 200, JSON.stringify(body));
      assert.deepEqual(claimsOf(body)['authorization_details'], [atBank]);
      assert.equal(claimsOf(body)['scope'], undefined);
      const both = { ...PAYMENT, locations: [BANK, LEDGER] };
      const narrowed = await ask({ ...details(both), resource: LEDGER });
      assert.deepEqual(narrowed.body['authorization_details'], [{ ...PAYMENT, locations: [LEDGER] }]);
    });

    it('find their resource where only one can be meant', async () => {
      const { body } = await ask(details({ ...PAYMENT, locations: [LEDGER] }));
      assert.equal(claimsOf(body).aud, LEDGER);
      await refused(ask(details(PAYMENT)), 'invalid_target');
      const apart = [
        { ...PAYMENT, locations: [LEDGER] },
        { ...PAYMENT, locations: [BANK] },
      ];
      await refused(ask(details(...apart)), 'invalid_target');
      await refused(ask({ ...details(...apart), resource: BANK }));
    });

    it('are refused to a client that has not been given the type, or the resource', async () => {
      const resources = [{ resource: BANK, scopes: ['accounts:read'] }];
      const other = await registerClient(gatehouse, { resources });
      await refused(ask({ ...details(PAYMENT), resource: BANK }, other));
      await refused(token(bank.shop, { grant_type: 'client_credentials', ...details(PAYMENT) }), 'unauthorized_client');
      const { callback } = await pay({ ...PAYMENT, locations: [LEDGER] });
      assert.equal(callback.searchParams.get('error'), 'invalid_authorization_details');
    });
  });

  it('are told to the resource server that introspects, plain and signed', async () => {
    const { body } = await exchange(await pay());
    const ask = (accept: string) =>
      postForm(`${gatehouse.url}/introspect`, { token: String(body['access_token']) }, resourceServer, { accept });
    const plain = (await (await ask('application/json')).json()) as Body;
    assert.deepEqual(plain['authorization_details'], [PAYMENT]);
    const signed = decodeJwt(await (await ask('application/token-introspection+jwt')).text());
    assert.deepEqual((signed['token_introspection'] as Body)['authorization_details'], [PAYMENT]);
    const own = await postForm(`${gatehouse.url}/introspect`, { token: String(body['refresh_token']) }, bank.shop);
    assert.deepEqual(((await own.json()) as Body)['authorization_details'], [PAYMENT]);
  });

  it('leave their types in the trail, and nothing that is in them', async () => {
    await exchange(await pay({ ...PAYMENT, payee: 'Somebody Personal' }));
    const rows = await gatehouse.database.selectFrom('audit_events').select(['event', 'details']).execute();
    const named = rows.filter(
      ({ details: its }) => JSON.stringify(its['authorization_details_types']) === '["payment"]',
    );
    for (const event of ['authorization.granted', 'consent.given', 'token.issued'])
      assert.ok(
        named.some((row) => row.event === event),
        event,
      );
    for (const text of [JSON.stringify(rows), gatehouse.log.join('\n')])
      assert.equal(text.includes('Somebody Personal'), false);
  });

  it('are for people at browsers and for clients themselves: not for devices', async () => {
    const { body: device } = await bank.admin.post('/clients', {
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      token_endpoint_auth_method: 'none',
      resources: [{ resource: BANK, scopes: ['accounts:read'] }],
      authorization_details_types: ['payment'],
    });
    const form = { client_id: device.client_id, scope: 'accounts:read', resource: BANK, ...details(PAYMENT) };
    const response = await postForm(`${gatehouse.url}/device_authorization`, form);
    assert.equal(response.status, 400);
    assert.equal(((await response.json()) as Body)['error'], 'invalid_authorization_details');
  });
});
