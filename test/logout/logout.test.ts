import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { assertAccessible, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

describe('logging out', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('is asked about first, and ends the session', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    await assertAccessible(page);
    assert.equal(await isLoggedIn(page), true);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    await page.getByRole('button', { name: 'Log out' }).click();
    assert.match(await textOf(page), /You are logged out/);
    await assertAccessible(page);
    assert.equal(await isLoggedIn(page), false);
  });

  it('leads back to the application that asked for it, with its state', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    await page.goto(await logoutRequest(page));
    assert.match(await textOf(page), /Notes & Co has logged you out\. Do you want to log out here, too\?/);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL(`${scene.application.origin}/bye?state=back`);
    assert.equal(await isLoggedIn(page), false);
  });

  it('of the application alone leaves the session as it is', async () => {
    const page = await scene.visit();
    await page.goto(await logoutRequest(page));
    await page.getByRole('button', { name: 'Stay logged in' }).click();
    await page.waitForURL(`${scene.application.origin}/bye?state=back`);
    assert.equal(await isLoggedIn(page), true);

    await page.goto(`${scene.gatehouse.issuer}/logout?client_id=${scene.application.clientId}`);
    await page.getByRole('button', { name: 'Stay logged in' }).click();
    assert.match(await textOf(page), /You are logged out of Notes & Co .* still logged in/);
  });

  it('says that nothing changed when the person stays', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    await page.getByRole('button', { name: 'Stay logged in' }).click();
    assert.match(await textOf(page), /You are still logged in/);
    assert.equal(await isLoggedIn(page), true);
  });

  it('of someone who is not logged in goes straight to the farewell, under the same policy', async () => {
    const page = await scene.visit();
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    await page.waitForURL('**/logout/success');
    assert.match(await textOf(page), /You are logged out/);
  });

  it('never leads to an address that the application did not register (CVE-2024-39694)', async () => {
    const page = await scene.visit();
    const evil = new URLSearchParams({
      client_id: scene.application.clientId,
      post_logout_redirect_uri: 'https://evil.example/',
    });
    await page.goto(`${scene.gatehouse.issuer}/logout?${evil}`);
    assert.match(
      await textOf(page),
      /^You are logged out .* the address that the application asked for is not registered here/,
    );
    await assertAccessible(page);
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout?${evil}`);
    assert.match(
      await textOf(page),
      /Do you want to log out here, too\? .* the address that the application asked for is not registered here/,
    );
    await assertAccessible(page);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByRole('heading', { name: 'You are logged out' }).waitFor();
    assert.equal(new URL(page.url()).origin, new URL(scene.gatehouse.issuer).origin);
    assert.equal(await isLoggedIn(page), false);
  });

  it('can’t be done by another site on the person’s behalf', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(`${scene.gatehouse.issuer}/logout`);
    for (const form of [{ logout: 'yes' }, { logout: 'yes', xsrf: 'guess' }]) {
      const answer = await page.request.post(`${scene.gatehouse.issuer}/logout/confirm`, {
        form,
        headers: { accept: 'text/html' },
      });
      assert.equal(answer.status(), 400);
    }
    assert.equal(await isLoggedIn(page), true);
  });

  async function logoutRequest(page: Page): Promise<string> {
    const { body } = await scene.application.redeem(await signIn(page, scene));
    const post_logout_redirect_uri = `${scene.application.origin}/bye`;
    return `${scene.gatehouse.issuer}/logout?${new URLSearchParams({ id_token_hint: String(body['id_token']), post_logout_redirect_uri, state: 'back' })}`;
  }

  async function isLoggedIn(page: Page): Promise<boolean> {
    await page.goto(`${scene.gatehouse.issuer}/account`);
    return (await textOf(page)).includes('demo@example.com');
  }
});
