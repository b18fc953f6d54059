import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import type { Page } from 'playwright-core';
import { MFA_ACR, PHISHING_RESISTANT_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { loginsOf } from '../support/client/relying_party.ts';
import { registerResource } from '../support/node/operator.ts';
import { newAccount, personWithApp } from '../support/person/authenticator.ts';
import { logIn, setScene, type Scene } from '../support/person/pages.ts';
import { Person } from '../support/person/person.ts';
import { VirtualAuthenticator } from '../support/person/virtual_authenticator.ts';

/** A key in hardware that is never copied (OpenID Connect Extended Authentication Profile ACR Values 1.0). */
const HARDWARE_ACR = 'phrh';
const essential = (...values: string[]) => ({
  claims: JSON.stringify({ id_token: { acr: { essential: true, values } } }),
});
const UNMET = 'unmet_authentication_requirements';

describe('phrh, which no login at this server can have', () => {
  let scene: Scene;
  let admin: Admin;
  before(async () => {
    // a server with passkeys
    scene = await setScene({ host: 'localhost' });
    admin = await Admin.of(scene.gatehouse);
  });
  after(() => scene.stop());

  it('is not among the values of discovery, and an admin can’t require it', async () => {
    const { gatehouse } = scene;
    const answer = await fetch(`${gatehouse.url}/.well-known/openid-configuration`);
    const { acr_values_supported: values } = (await answer.json()) as { acr_values_supported: string[] };
    assert.ok(values.includes(PHISHING_RESISTANT_ACR));
    assert.equal(values.includes(HARDWARE_ACR), false);
    const client = await registerApplication(gatehouse);
    const { resource } = await registerResource(gatehouse, 'vaults');
    const group = (await admin.post('/groups', { name: 'Guards' })).body;
    for (const path of [
      `/clients/${client.client_id}`,
      `/resources/${encodeURIComponent(resource)}`,
      `/groups/${String(group['group_id'])}`,
    ]) {
      const { status, body } = await admin.patch(path, { required_acr: HARDWARE_ACR });
      assert.equal(status, 400, path);
      assert.deepEqual(
        body.errors.map(({ detail }) => detail),
        [`must be ${MFA_ACR} or ${PHISHING_RESISTANT_ACR}`],
      );
    }
  });

  it('as essential, is refused before the person types a password, and after a login with two factors', async () => {
    const { gatehouse } = scene;
    const client = await registerApplication(gatehouse);
    const stranger = new Person(gatehouse);
    const { person } = await personWithApp(gatehouse);
    await signIn(gatehouse, client, { person });
    for (const asking of [stranger, person]) {
      const logins = loginsOf(asking);
      const { callback } = await requestCode(gatehouse, client, {
        person: asking,
        parameters: essential(HARDWARE_ACR),
      });
      assert.equal(callback.searchParams.get('error'), UNMET);
      assert.equal(loginsOf(asking), logins);
    }
  });

  it('as voluntary, is answered with the requested value that the login satisfies, or with its own', async () => {
    const { gatehouse } = scene;
    const client = await registerApplication(gatehouse);
    const { person } = await personWithApp(gatehouse);
    for (const acr_values of [`${HARDWARE_ACR} ${MFA_ACR}`, HARDWARE_ACR]) {
      const { tokens } = await signIn(gatehouse, client, { person, parameters: { acr_values } });
      assert.equal(tokens.claims()!['acr'], MFA_ACR, acr_values);
    }
    assert.equal(loginsOf(person), 1, 'a new login would not be stronger');
  });

  it('is not satisfied by a passkey either, which is phr', async () => {
    const page = await scene.visit();
    const authenticator = await VirtualAuthenticator.in(page, { answers: false });
    await page.goto(`${scene.gatehouse.issuer}/account/passkeys`);
    await logIn(page, await newAccount(scene.gatehouse));
    await page.getByLabel('Name').last().fill('A key');
    await authenticator.answer(true);
    await page.getByRole('button', { name: 'Add a passkey' }).click();
    await page.getByText('It has been added').waitFor();
    await page.context().clearCookies();
    await page.goto(scene.application.authorizationUrl(essential(HARDWARE_ACR, PHISHING_RESISTANT_ACR)));
    assert.equal((await claimsAfter(page))['acr'], PHISHING_RESISTANT_ACR);
    await page.goto(scene.application.authorizationUrl({ acr_values: `${HARDWARE_ACR} ${PHISHING_RESISTANT_ACR}` }));
    assert.equal((await claimsAfter(page))['acr'], PHISHING_RESISTANT_ACR);
    await page.goto(scene.application.authorizationUrl(essential(HARDWARE_ACR)));
    await page.waitForURL((url) => url.href.startsWith(scene.application.redirectUri));
    assert.equal(new URL(page.url()).searchParams.get('error'), UNMET);
  });

  const claimsAfter = async (page: Page): Promise<Record<string, unknown>> => {
    // the authenticator answers by itself, as the browser offers the passkey
    const allow = page.getByRole('button', { name: 'Allow' });
    const back = page.getByText('Back at the application');
    await allow.or(back).first().waitFor();
    if (await allow.isVisible()) await allow.click();
    await page.waitForURL((url) => url.href.startsWith(scene.application.redirectUri));
    const { body } = await scene.application.redeem(page.url());
    return decodeJwt(String(body['id_token']));
  };
});
