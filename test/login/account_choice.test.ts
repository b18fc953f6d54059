import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import {
  assertAccessible,
  assertFits,
  logIn,
  press,
  setScene,
  signIn,
  textOf,
  type Scene,
} from '../support/person/pages.ts';

const OTHER = { email: 'other@example.com', password: 'another good password' };

describe('the choice of an account (prompt=select_account)', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
    const admin = await Admin.of(scene.gatehouse);
    assert.equal((await admin.post('/accounts', { ...OTHER, name: 'Other Person' })).status, 201);
  });
  after(() => scene.stop());

  const select = (prompt = 'select_account', more = {}): string =>
    scene.application.authorizationUrl({ prompt, ...more });
  const subjectAt = async (callback: string): Promise<unknown> => {
    const { body } = await scene.application.redeem(callback);
    return JSON.parse(Buffer.from(String(body['id_token']).split('.')[1]!, 'base64url').toString('utf8')).sub;
  };

  it('is named in discovery, with the other values of prompt (FIELD-C6)', async () => {
    const response = await fetch(`${scene.gatehouse.issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as Record<string, unknown>;
    assert.deepEqual(metadata['prompt_values_supported'], ['none', 'login', 'consent', 'select_account']);
  });

  it('goes on with the account that is logged in, by keyboard alone and without a password (FIELD-C6)', async () => {
    const page = await scene.visit();
    const earlier = await subjectAt(await signIn(page, scene));
    await page.goto(select());
    const text = await textOf(page);
    assert.match(text, /^Choose an account to continue to Notes & Co .*with demo@example\.com/);
    assert.equal(await page.getByLabel('Password').count(), 0);
    await press(page, 'Continue with this account');
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    assert.equal(await subjectAt(page.url()), earlier);
  });

  it('works with JavaScript switched off, and leads to another account, which replaces the first (FIELD-C6)', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    const earlier = await subjectAt(await signIn(page, scene));
    await page.goto(select());
    await page.getByRole('link', { name: 'Use another account' }).click();
    assert.equal(await page.getByLabel('E-mail address').inputValue(), '');
    await logIn(page, { email: OTHER.email, password: 'not the password' });
    assert.match(await textOf(page), /is not right/);
    await logIn(page, OTHER);
    // the answer of the library logs the first account out with a form that waits for a script or a click
    if (await page.getByRole('button', { name: 'Continue' }).isVisible())
      await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    assert.notEqual(await subjectAt(page.url()), earlier);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /other@example\.com/);
  });

  for (const prompt of ['select_account', 'select_account login', 'select_account consent']) {
    it(`is made by the login where no person is logged in (${prompt}) (FIELD-C6)`, async () => {
      const page = await scene.visit();
      await page.goto(select(prompt));
      assert.match(await textOf(page), /^Log in to continue to Notes & Co/);
      await logIn(page, scene.gatehouse.account);
      if (page.url().includes('/interaction/')) await page.getByRole('button', { name: 'Allow' }).click();
      await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    });
  }

  it('asks for the password where the application demands a login too, and offers another account (FIELD-C6)', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    for (const url of [select('login select_account'), select('select_account', { max_age: '0' })]) {
      await page.goto(url);
      assert.match(await textOf(page), /You are logged in as demo@example\.com.*Use another account/);
      await logIn(page, scene.gatehouse.account);
      await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    }
  });

  it('comes before the consent that the application demands (FIELD-C6)', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(select('select_account consent'));
    await page.getByRole('button', { name: 'Continue with this account' }).click();
    await page.getByRole('heading', { name: 'Allow Notes & Co?' }).waitFor();
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
  });

  it('ends with access_denied where the person cancels, and never goes with prompt=none (FIELD-C6)', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(select());
    await page.getByRole('button', { name: 'Cancel and go back' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?**`);
    assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied');
    await page.goto(select('none select_account'));
    assert.equal(new URL(page.url()).searchParams.get('error'), 'invalid_request');
  });

  it('is no consent, and no login: a form of another step changes nothing (FIELD-C6)', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
    const skipped = await page.request.post(`${page.url()}/choose`, { maxRedirects: 0 });
    assert.deepEqual([skipped.status(), skipped.headers()['location']], [303, new URL(page.url()).pathname]);
    await page.reload();
    assert.match(await textOf(page), /Confirm that it’s you/);
  });

  it('has nothing that axe objects to, and fits a screen of 320 pixels (FIELD-C6)', async () => {
    const admin = await Admin.of(scene.gatehouse);
    const account = { email: `${'long'.repeat(15)}@example.com`, password: 'a password for long' };
    assert.equal((await admin.post('/accounts', { ...account, name: `Very ${'long '.repeat(30)}name` })).status, 201);
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(scene.application.authorizationUrl());
    await logIn(page, account);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    await page.goto(select());
    await assertFits(page);
    await assertAccessible(page);
  });
});
