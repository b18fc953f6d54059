import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import * as openid from 'openid-client';
import type { Page } from 'playwright-core';
import { configure } from '../support/client/code_flow.ts';
import { poll, registerDevice, requestDevice, type DeviceAnswer } from '../support/person/device_flow.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { assertAccessible, assertFits, logIn, press, setScene, textOf, type Scene } from '../support/person/pages.ts';

describe('the pages of a device', () => {
  let scene: Scene;
  let tv: RegisteredClient;
  before(async () => {
    scene = await setScene();
  });
  // a device of its own for each: what was allowed to one is remembered
  beforeEach(async () => {
    tv = await registerDevice(scene.gatehouse);
  });
  after(() => scene.stop());

  it('lead from the code on the screen to a connected television by keyboard alone', async () => {
    const config = await configure(scene.gatehouse, tv);
    const answer = await openid.initiateDeviceAuthorization(config, { scope: 'openid notes:read' });
    const page = await scene.visit();
    await page.goto(answer.verification_uri);
    await page.locator('#user_code:focus').waitFor();
    await page.keyboard.type(answer.user_code.toLowerCase().replace('-', ''));
    await page.keyboard.press('Enter');
    await page.locator('#email:focus').waitFor();
    await page.keyboard.type(scene.gatehouse.account.email);
    await page.keyboard.press('Tab');
    await page.keyboard.type(scene.gatehouse.account.password);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Allow Living-room TV?' }).waitFor();
    assert.match(await textOf(page), /Your device goes on by itself when you allow it\./);
    await press(page, 'Allow');
    await page.getByRole('heading', { name: 'Your device is connected' }).waitFor();
    const tokens = await openid.pollDeviceAuthorizationGrant(config, { ...answer, interval: 0 });
    assert.equal(tokens.scope, 'openid notes:read');
    assert.equal(typeof tokens.claims()?.sub, 'string');
  });

  it('work with JavaScript switched off', async () => {
    const answer = await requestDevice(scene.gatehouse, tv);
    const page = await scene.visit({ javaScriptEnabled: false });
    await connect(page, answer);
    assert.equal((await poll(scene.gatehouse, tv, answer.device_code)).status, 200);
  });

  it('fill in the code of a link, and never continue by themselves, not even for a person who is logged in', async () => {
    const page = await scene.visit();
    await connect(page, await requestDevice(scene.gatehouse, tv)); // logged in, and allowed before
    const answer = await requestDevice(scene.gatehouse, tv);
    await page.goto(answer.verification_uri_complete);
    assert.equal(await page.getByLabel('Code').inputValue(), answer.user_code);
    await page.waitForTimeout(300);
    assert.match(await textOf(page), /^Connect a device /);
    assert.equal((await poll(scene.gatehouse, tv, answer.device_code)).error, 'authorization_pending');

    await page.getByRole('button', { name: 'Continue' }).click();
    const text = await textOf(page);
    assert.match(text, /Allow Living-room TV\?/);
    assert.match(text, /Allow it only if you started this yourself, on a device in front of you/);
    assert.equal(text.includes(answer.user_code), true);
    assert.match(text, /You have allowed it before to .* Know who you are/);
    // too soon for the device, and nothing was decided by looking
    assert.equal((await poll(scene.gatehouse, tv, answer.device_code)).error, 'slow_down');

    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Your device is connected' }).waitFor();
  });

  it('take a hostile link and a hostile client for text', async () => {
    const hostile = '"><script>document.title="owned"</script>';
    const page = await scene.visit();
    await page.goto(`${scene.gatehouse.issuer}/device?user_code=${encodeURIComponent(hostile)}&user_code=2`);
    assert.equal(await page.locator('script').count(), 0);
    const box = await registerDevice(scene.gatehouse, { client_name: hostile });
    await enter(page, (await requestDevice(scene.gatehouse, box)).user_code);
    assert.ok((await textOf(page)).includes(hostile));
    assert.equal(await page.locator('main script').count(), 0);
  });

  it('say that nothing was connected when the person cancels, before or after the login', async () => {
    const page = await scene.visit();
    const first = await requestDevice(scene.gatehouse, tv);
    await enter(page, first.user_code);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Deny' }).click();
    assert.match(await textOf(page), /The device was not connected/);
    assert.equal((await poll(scene.gatehouse, tv, first.device_code)).error, 'access_denied');

    const stranger = await scene.visit();
    const second = await requestDevice(scene.gatehouse, tv);
    await enter(stranger, second.user_code);
    await stranger.getByRole('button', { name: 'Cancel and go back' }).click();
    assert.match(await textOf(stranger), /The device was not connected/);
    assert.equal((await poll(scene.gatehouse, tv, second.device_code)).error, 'access_denied');
  });

  it('can’t be gone on with in another browser: neither before nor after the code was entered', async () => {
    const answer = await requestDevice(scene.gatehouse, tv);
    const [owner, other] = [await scene.visit(), await scene.visit()];
    await owner.goto(`${scene.gatehouse.issuer}/device`);
    await owner.getByLabel('Code').fill(answer.user_code);
    await other.goto(`${scene.gatehouse.issuer}/device`);
    const form = await owner
      .locator('form')
      .evaluate((element) => Object.fromEntries([...new FormData(element as HTMLFormElement)] as [string, string][]));
    const stolen = await other.request.post(`${scene.gatehouse.issuer}/device`, { form });
    assert.equal(stolen.status(), 400);
    assert.match(await stolen.text(), /The page was out of date/);

    await owner.getByRole('button', { name: 'Continue' }).click();
    await owner.getByLabel('Password').waitFor();
    assert.equal((await other.goto(owner.url()))!.status(), 400);
    await enter(other, answer.user_code);
    assert.match(await textOf(other), /No device waits with this code/);
    await logIn(owner, scene.gatehouse.account);
    await owner.getByRole('button', { name: 'Allow' }).click();
    await owner.getByRole('heading', { name: 'Your device is connected' }).waitFor();
  });

  it('keep what was typed where it was wrong, with the focus in the field', async () => {
    const page = await scene.visit();
    await enter(page, 'bcdfg hjklm');
    assert.match(await textOf(page), /No device waits with this code\./);
    assert.equal(await page.getByLabel('Code').inputValue(), 'BCDFG-HJKLM');
    assert.equal(await page.evaluate('document.activeElement.id'), 'user_code');
    assert.match(await page.title(), /^Error: /);
  });

  it('have nothing that axe objects to, in light and in dark', async () => {
    const page = await scene.visit();
    await page.goto(`${scene.gatehouse.issuer}/device`);
    await assertAccessible(page);
    await enter(page, 'BCDFG-HJKLM');
    await assertAccessible(page);
    const denied = await requestDevice(scene.gatehouse, tv, { scope: 'openid notes:read' });
    await enter(page, denied.user_code);
    await assertAccessible(page);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Deny' }).click();
    await assertAccessible(page);
    const answer = await requestDevice(scene.gatehouse, tv, { scope: 'openid notes:read' });
    await enter(page, answer.user_code);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    await assertAccessible(page);
    await expire(answer);
    await page.getByRole('button', { name: 'Allow' }).click();
    assert.match(await textOf(page), /This code can’t be used any more/);
    await assertAccessible(page);
    const last = await requestDevice(scene.gatehouse, tv);
    await enter(page, last.user_code);
    await page.getByRole('button', { name: 'Allow' }).click();
    assert.match(await textOf(page), /Your device is connected/);
    await assertAccessible(page);
    for (let i = 0; i < 11; i++) await enter(page, 'BCDFG-HJKLM');
    assert.match(await textOf(page), /There were too many tries with codes\. Wait \d+ minutes?/);
    await assertAccessible(page);
  });

  it('fit a screen of 320 pixels with targets that a finger can hit', async () => {
    const box = await registerDevice(scene.gatehouse, { client_name: `Very ${'long '.repeat(20)}name` });
    const { user_code } = await requestDevice(scene.gatehouse, box, { scope: 'openid notes:read' });
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(`${scene.gatehouse.issuer}/device`);
    await assertFits(page);
    await enter(page, user_code);
    await assertFits(page);
  });

  /** As if its ten minutes were over: for the library and for us. */
  async function expire({ device_code }: DeviceAnswer): Promise<void> {
    assert.equal((await poll(scene.gatehouse, tv, device_code)).error, 'authorization_pending');
    const past = Math.floor(Date.now() / 1000) - 1;
    const { database } = scene.gatehouse;
    const row = await database
      .selectFrom('device_codes')
      .select(['device_code', 'payload'])
      .where('status', '=', 'claimed')
      .orderBy('created_at', 'desc')
      .executeTakeFirstOrThrow();
    await database
      .updateTable('device_codes')
      .set({ payload: JSON.stringify({ ...row.payload, exp: past }), expires_at: new Date(past * 1000) })
      .where('device_code', '=', row.device_code)
      .execute();
  }

  async function enter(page: Page, code: string): Promise<void> {
    await page.goto(`${scene.gatehouse.issuer}/device`);
    await page.getByLabel('Code').fill(code);
    await page.getByRole('button', { name: 'Continue' }).click();
  }

  async function connect(page: Page, { user_code }: DeviceAnswer): Promise<void> {
    await enter(page, user_code);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Your device is connected' }).waitFor();
  }
});
