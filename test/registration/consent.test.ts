import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { assertAccessible, logIn, setScene, textOf, type Scene } from '../support/person/pages.ts';
import { makePolicy, register } from '../support/client/registration.ts';

describe('the consent for a program that registered itself', () => {
  let scene: Scene;
  let clientId: string;
  before(async () => {
    scene = await setScene();
    const { gatehouse, application } = scene;
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const metadata = {
      client_name: 'Your Bank',
      redirect_uris: [application.redirectUri],
      token_endpoint_auth_method: 'none',
    };
    clientId = (await register(gatehouse, metadata)).body.client_id;
  });
  after(() => scene.stop());

  const open = async (options = {}): Promise<Page> => {
    const page = await scene.visit(options);
    await page.goto(scene.application.authorizationUrl({ client_id: clientId }));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: 'Allow Your Bank?' }).waitFor();
    return page;
  };

  it('warns that its name is not checked, and can’t be remembered', async () => {
    const page = await open({ viewport: { width: 320, height: 640 } });
    assert.match(await textOf(page), /It registered itself: nobody here has checked what it calls itself\./);
    assert.equal(await page.getByLabel('Remember this decision').count(), 0);
    await assertAccessible(page);
    assert.equal(await page.evaluate('document.documentElement.scrollWidth <= 320'), true);
  });

  it('works by keyboard and without JavaScript, and asks again the next time', async () => {
    const page = await open({ javaScriptEnabled: false });
    const allow = page.getByRole('button', { name: 'Allow' });
    await allow.focus();
    await page.keyboard.press('Enter');
    await page.waitForURL((url) => url.href.startsWith(scene.application.redirectUri));
    await page.goto(scene.application.authorizationUrl({ client_id: clientId }));
    await allow.waitFor();
  });
});
