import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startApplication, type Application } from '../support/client/application.ts';
import { assertAccessible, assertFits, logIn, press, setScene, textOf, type Scene } from '../support/person/pages.ts';

describe('the page for a person who may not use an application, in a browser', () => {
  let scene: Scene;
  let payroll: Application;
  before(async () => {
    scene = await setScene();
    const admin = await Admin.of(scene.gatehouse);
    const { body } = await admin.post('/groups', { name: 'Staff' });
    payroll = await startApplication(scene.gatehouse, {
      client_name: 'Payroll',
      allowed_groups: [body['group_id']],
      contacts: ['payroll@example.com'],
    });
  });
  after(async () => {
    await payroll.stop();
    await scene.stop();
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`says whom to ask, is accessible and fits a phone, and leads back by keyboard (${colorScheme})`, async () => {
      const page = await scene.visit({ colorScheme, viewport: { width: 320, height: 640 } });
      await page.goto(payroll.authorizationUrl({ scope: 'openid' }));
      await logIn(page, scene.gatehouse.account);
      await page.getByRole('heading', { name: 'You can’t use Payroll' }).waitFor();
      assert.match(await textOf(page), /To get access, ask payroll@example\.com/);
      await assertAccessible(page);
      await assertFits(page);
      await press(page, 'Go back to Payroll');
      await page.waitForURL(/error=access_denied/);
    });
  }

  it('works without a script', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    await page.goto(payroll.authorizationUrl({ scope: 'openid' }));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Go back to Payroll' }).click();
    await page.waitForURL(/error=access_denied/);
  });
});
