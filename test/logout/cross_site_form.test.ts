import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

/** Browsers leave our cookies out of a form that another site posts: the session is there and not to be seen. */
describe('a logout that the application posts as a form', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  for (const javaScriptEnabled of [true, false]) {
    it(`is asked about as any other, ${javaScriptEnabled ? 'with' : 'without'} JavaScript, and loses no session`, async () => {
      const page = await scene.visit({ javaScriptEnabled });
      const { body } = await scene.application.redeem(await signIn(page, scene));
      await post(page, {
        id_token_hint: String(body['id_token']),
        post_logout_redirect_uri: `${scene.application.origin}/bye`,
        state: 'posted',
      });
      assert.match(await textOf(page), /Notes & Co has logged you out\. Do you want to log out here, too\?/);
      assert.equal(await isLoggedIn(await page.context().newPage()), true);
      await page.getByRole('button', { name: 'Log out' }).click();
      await page.waitForURL(`${scene.application.origin}/bye?state=posted`);
      assert.equal(await isLoggedIn(page), false);
    });
  }

  it('is refused where it is too large to be asked about', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await post(page, { state: 'x'.repeat(9_000) });
    assert.match(await textOf(page), /can’t be completed/);
    assert.equal(await isLoggedIn(page), true);
  });

  /** As the application's own page does it, on another site than ours. */
  async function post(page: Page, fields: Readonly<Record<string, string>>): Promise<void> {
    await page.goto(`${scene.application.origin}/form`);
    const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`);
    const form = `<form method="post" action="${scene.gatehouse.issuer}/logout">${inputs.join('')}<button>Go</button></form>`;
    await page.setContent(`<!doctype html><main>${form}</main>`);
    await page.getByRole('button', { name: 'Go' }).click();
    await page.waitForURL(`${scene.gatehouse.issuer}/logout**`);
  }

  async function isLoggedIn(page: Page): Promise<boolean> {
    await page.goto(`${scene.gatehouse.issuer}/account`);
    return (await textOf(page)).includes('demo@example.com');
  }
});
