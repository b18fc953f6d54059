import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { registerApplication, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { logOut } from '../support/network/logout_receiver.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

const BYE = 'https://app.example.com/bye';

describe('a logout with an ID token whose key is published no more', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let signedIn: SignedIn;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse, { post_logout_redirect_uris: [BYE] });
    signedIn = await signIn(gatehouse, client);
    const { kid } = decodeProtectedHeader(signedIn.tokens.id_token!);
    const admin = await Admin.of(gatehouse);
    const { status, text } = await admin.post('/keys/rotate', { alg: 'RS256', reason: 'test', emergency: true });
    assert.ok(status < 300, text);
    const response = await fetch(`${gatehouse.issuer}/jwks`);
    assert.equal((await response.text()).includes(kid!), false);
  });
  after(() => gatehouse.stop());

  it('asks the person first, and leads nowhere where nothing but the token says whose it is', async () => {
    const { person, tokens } = signedIn;
    const query = new URLSearchParams({ id_token_hint: tokens.id_token!, post_logout_redirect_uri: BYE });
    const { response, page } = await person.open(`${gatehouse.issuer}/logout?${query}`);
    assert.equal(response.status, 200);
    assert.match(page, /name="logout"/);
    const { url } = await logOut(person, gatehouse, Object.fromEntries(query));
    assert.equal(url, `${gatehouse.issuer}/logout/success`);
  });

  it('leads back to the registered URI of the client that it names', async () => {
    const { person } = await signIn(gatehouse, client);
    const hint = { id_token_hint: signedIn.tokens.id_token! };
    const back = { client_id: client.client_id, post_logout_redirect_uri: BYE, state: 's' };
    assert.equal((await logOut(person, gatehouse, { ...hint, ...back })).url, `${BYE}?state=s`);
  });

  it('is refused where it names another client, and leads to no URI that is not registered', async () => {
    const other = await registerApplication(gatehouse, { post_logout_redirect_uris: ['https://evil.example/'] });
    const hint = { id_token_hint: signedIn.tokens.id_token! };
    for (const [clientId, status] of [
      [other.client_id, 400],
      [client.client_id, 200],
    ] as const) {
      const form = { ...hint, client_id: clientId, post_logout_redirect_uri: 'https://evil.example/' };
      const response = await fetch(`${gatehouse.issuer}/logout?${new URLSearchParams(form)}`, { redirect: 'manual' });
      assert.deepEqual([response.status, response.headers.get('location')], [status, null]);
      assert.doesNotMatch(await response.text(), /evil\.example/);
    }
  });

  it('is worth no more than none at all: a person with a forged one is redirected nowhere (OUT-03)', async () => {
    const { person, tokens } = await signIn(gatehouse, client);
    const { privateKey } = await generateKeyPair('RS256');
    const forged = await new SignJWT(decodeJwt(tokens.id_token!))
      .setProtectedHeader({ alg: 'RS256', kid: 'made-up' })
      .sign(privateKey);
    const { url } = await logOut(person, gatehouse, { id_token_hint: forged, post_logout_redirect_uri: BYE });
    assert.equal(url, `${gatehouse.issuer}/logout/success`);
  });

  it('shows a page of ours to who is not logged in', async () => {
    const page = await (await fetch(`${gatehouse.issuer}/logout`)).text();
    assert.doesNotMatch(page, /Submitting Callback/);
    assert.match(page, /<h1/);
  });
});
