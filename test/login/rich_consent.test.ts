import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import type { Page } from 'playwright-core';
import { startApplication, type Application } from '../support/client/application.ts';
import { assertAccessible, logIn, setScene, textOf, type Scene } from '../support/person/pages.ts';
import { BANK, LEDGER, openBank, PAYMENT, PAYMENT_TYPE } from '../support/client/payments.ts';

describe('consent to a rich authorization request (RFC 9396), in a browser', () => {
  let scene: Scene;
  let shop: Application;
  before(async () => {
    scene = await setScene();
    await openBank(scene.gatehouse);
    shop = await startApplication(scene.gatehouse, {
      client_name: 'The shop',
      resources: [{ resource: BANK, scopes: ['accounts:read'] }],
      authorization_details_types: ['payment'],
    });
  });
  after(async () => {
    await shop.stop();
    await scene.stop();
  });

  const ask = async (page: Page, details: readonly unknown[], scope = ''): Promise<void> => {
    const parameters = { scope, authorization_details: JSON.stringify(details), resource: BANK };
    await page.goto(shop.authorizationUrl(parameters));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
  };

  it('says what it is about, in the operator’s words and the request’s values, and shows every member', async () => {
    const page = await scene.visit({ reducedMotion: 'reduce' }); // colours that fade have no contrast to speak of yet
    await ask(page, [{ ...PAYMENT, more: { invoice: { number: 7, paid: false, note: null, lines: [] } } }], 'openid');
    const text = await textOf(page);
    for (const said of [
      'Allow The shop?',
      'It asks you to allow, this time',
      'Pay 123.50 EUR to Merchant A',
      'The money leaves your account at once.',
      'Amount · value 123.50',
      'Amount · currency EUR',
      'Payee Merchant A',
      'actions · 1 initiate actions · 2 status',
      'more · invoice · number 7',
      'more · invoice · paid false',
      'more · invoice · note null',
      'more · invoice · lines (empty)',
      'Kind of request payment',
      `Used at ${BANK}`,
      'Know who you are',
    ]) {
      assert.ok(text.includes(said), `${said}: ${text}`);
    }
    assert.equal(text.includes(LEDGER), false, 'the type is for it, too, this request is not');
    await assertAccessible(page);
  });

  it('shows what a client wrote as text, even if it looks like markup, and all of it is visible', async () => {
    const page = await scene.visit();
    const marks = '<img src=x onerror="document.title=1"><b>bold</b>';
    await ask(page, [
      {
        ...PAYMENT,
        payee: marks,
        reference: 'a\u202Egpj.exe \u200Bz  two  spaces',
        more: { '</dl><h1>x': '<%= 1 %>\n2' },
      },
    ]);
    const text = await page.locator('main').innerText();
    for (const said of [marks, 'a⟨U+202E⟩gpj.exe ⟨U+200B⟩z  two  spaces', '</dl><h1>x', '<%= 1 %>⟨U+000A⟩2']) {
      assert.ok(text.includes(said), `${said}: ${text}`);
    }
    assert.equal(await page.locator('main img, main b, main dl h1').count(), 0);
    assert.match(await page.title(), /^Allow The shop\?/);
  });

  it('says each of several requests by itself', async () => {
    const page = await scene.visit();
    await ask(page, [PAYMENT, { ...PAYMENT, payee: 'Merchant B', locations: [BANK] }]);
    const headings = await page.getByRole('heading', { level: 3 }).allInnerTexts();
    assert.deepEqual(headings, ['Pay 123.50 EUR to Merchant A', 'Pay 123.50 EUR to Merchant B']);
  });

  it('is given with the keyboard, on a small screen, without JavaScript, in the dark', async () => {
    const page = await scene.visit({
      javaScriptEnabled: false,
      viewport: { width: 320, height: 640 },
      colorScheme: 'dark',
    });
    await ask(page, [{ ...PAYMENT, payee: 'M'.repeat(140) }]);
    assert.equal(await page.getByLabel(/Remember/).count(), 0, 'there is nothing that could be remembered');
    const widest = await page.locator('main').evaluate((main) => main.ownerDocument.documentElement.scrollWidth);
    assert.ok(widest <= 320, String(widest));
    await page.getByRole('button', { name: 'Allow' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(`${shop.redirectUri}?**`);
    const { body } = await shop.redeem(page.url());
    const claims = decodeJwt(String(body['access_token']));
    assert.deepEqual(claims['authorization_details'], [{ ...PAYMENT, payee: 'M'.repeat(140) }]);
  });

  it('is not what is remembered: the permissions are, and the next payment is asked about', async () => {
    const page = await scene.visit();
    await ask(page, [PAYMENT], 'accounts:read');
    await page.getByLabel('Remember this decision about permissions').check();
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${shop.redirectUri}?**`);

    const parameters = { scope: 'accounts:read', resource: BANK };
    await page.goto(shop.authorizationUrl(parameters));
    await page.waitForURL(`${shop.redirectUri}?**`);
    await page.goto(shop.authorizationUrl({ ...parameters, authorization_details: JSON.stringify([PAYMENT]) }));
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    const text = await textOf(page);
    assert.ok(text.includes('Pay 123.50 EUR to Merchant A'));
    assert.ok(text.includes('You have allowed it before to'));
  });

  it('says when a value of the title is missing', async () => {
    const title = 'Pay {amount.value} with the reference {reference}';
    await scene.gatehouse.adminCall('PATCH', '/authorization-details-types/payment', { title });
    const page = await scene.visit();
    await ask(page, [PAYMENT]);
    assert.ok((await textOf(page)).includes('Pay 123.50 with the reference (not said)'));
    await scene.gatehouse.adminCall('PATCH', '/authorization-details-types/payment', { title: PAYMENT_TYPE.title });
  });
});
