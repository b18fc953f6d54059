import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CIBA, DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { ask, pageOf } from '../support/client/backchannel.ts';
import { makePolicy, makeToken, register } from '../support/client/registration.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { requestDevice } from '../support/person/device_flow.ts';
import { assertAccessible, assertFits, logIn, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

const CAUTION = /It registered itself: nobody here has checked what it calls itself\./;

describe('an application that registered itself is named with a caution', () => {
  let scene: Scene;
  let bank: RegisteredClient;
  before(async () => {
    scene = await setScene();
    const grant_types = ['authorization_code', DEVICE_CODE, CIBA];
    await makePolicy(scene.gatehouse, {
      name: 'partners',
      grant_types,
      token_endpoint_auth_methods: ['client_secret_basic'],
    });
    const metadata = {
      client_name: 'Your Bank',
      redirect_uris: [scene.application.redirectUri],
      grant_types,
      backchannel_token_delivery_mode: 'poll',
    };
    const { initial_access_token } = await makeToken(scene.gatehouse, 'partners');
    const registered = await register(scene.gatehouse, metadata, initial_access_token);
    assert.equal(registered.status, 201, JSON.stringify(registered.body));
    bank = registered.body as unknown as RegisteredClient;
  });
  after(() => scene.stop());

  const request = (parameters = {}): string =>
    scene.application.authorizationUrl({ client_id: bank.client_id, ...parameters });

  it('on the login page and where an account is chosen (FIELD-D6)', async () => {
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(request());
    assert.match(await textOf(page), CAUTION);
    await assertAccessible(page);
    await logIn(page, { email: 'nobody@example.com', password: 'not the password' });
    assert.match(await textOf(page), CAUTION);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: 'Allow Your Bank?' }).waitFor();
    assert.match(await textOf(page), CAUTION);
    await page.goto(request({ prompt: 'select_account' }));
    assert.match(await textOf(page), new RegExp(`^Choose an account .*${CAUTION.source}`));
    await assertFits(page);
  });

  it('on the page that asks about a device (FIELD-D6)', async () => {
    const { user_code } = await requestDevice(scene.gatehouse, bank);
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(`${scene.gatehouse.issuer}/device`);
    await page.getByLabel('Code').fill(user_code);
    await page.getByRole('button', { name: 'Continue' }).click();
    assert.match(await textOf(page), new RegExp(`^Log in to continue to Your Bank .*${CAUTION.source}`));
    await assertFits(page);
    await assertAccessible(page);
  });

  it('on the page that asks for an approval (FIELD-D6)', async () => {
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(pageOf(scene.gatehouse, await ask(scene.gatehouse, bank)));
    await logIn(page, scene.gatehouse.account);
    assert.match(await textOf(page), new RegExp(`^Approve the request of Your Bank\\? .*${CAUTION.source}`));
    await assertFits(page);
    await assertAccessible(page);
  });

  it('and one that an admin has registered is not (FIELD-D6)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    assert.doesNotMatch(await textOf(page), CAUTION);
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'select_account' }));
    assert.doesNotMatch(await textOf(page), CAUTION);
  });
});
