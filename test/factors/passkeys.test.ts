import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import type { Page } from 'playwright-core';
import { PHISHING_RESISTANT_ACR } from '../../src/base/acr_values.ts';
import { startGatehouse } from '../support/node/gatehouse.ts';
import { newAccount, type TestAccount } from '../support/person/authenticator.ts';
import { assertAccessible, assertFits, logIn, setScene, textOf, type Scene } from '../support/person/pages.ts';
import { Person } from '../support/person/person.ts';
import { VirtualAuthenticator } from '../support/person/virtual_authenticator.ts';

describe('passkeys', () => {
  let scene: Scene;
  let pageUrl: string;
  before(async () => {
    scene = await setScene({ host: 'localhost' });
    pageUrl = `${scene.gatehouse.issuer}/account/passkeys`;
  });
  after(() => scene.stop());

  interface Owner {
    readonly account: TestAccount;
    readonly page: Page;
    readonly authenticator: VirtualAuthenticator;
  }

  /** A person who has added a passkey; the authenticator answers only when the test says so. */
  const withPasskey = async (name = 'My laptop'): Promise<Owner> => {
    const account = await newAccount(scene.gatehouse);
    const page = await scene.visit();
    const authenticator = await VirtualAuthenticator.in(page, { answers: false });
    await page.goto(pageUrl);
    await logIn(page, account);
    await addPasskey(page, authenticator, name);
    return { account, page, authenticator };
  };

  const addPasskey = async (page: Page, authenticator: VirtualAuthenticator, name: string): Promise<void> => {
    await page.getByLabel('Name').last().fill(name);
    await authenticator.answer(true);
    await page.getByRole('button', { name: 'Add a passkey' }).click();
    await page.getByText('It has been added').waitFor();
    await authenticator.answer(false);
  };

  /** A new login of the application, without the session of the browser. */
  const beginLogin = async (page: Page, parameters: Readonly<Record<string, string>> = {}): Promise<void> => {
    await page.context().clearCookies();
    await page.goto(scene.application.authorizationUrl(parameters));
  };

  const claimsAfter = async (page: Page): Promise<Record<string, unknown>> => {
    const allow = page.getByRole('button', { name: 'Allow' });
    await allow.or(page.getByText('Back at the application')).first().waitFor();
    if (await allow.isVisible()) await allow.click();
    await page.waitForURL((url) => url.href.startsWith(scene.application.redirectUri));
    const { body } = await scene.application.redeem(page.url());
    return decodeJwt(String(body['id_token']));
  };

  it('log in by the button, without address and password', async () => {
    const { page, authenticator, account } = await withPasskey();
    await beginLogin(page);
    const button = page.getByRole('button', { name: 'Log in with a passkey' });
    await button.waitFor();
    await authenticator.answer(true);
    await button.click();
    const { sub, amr, acr } = await claimsAfter(page);
    assert.deepEqual([sub, amr, acr], [account.accountId, ['pop', 'user', 'mfa'], PHISHING_RESISTANT_ACR]);
  });

  it('log in as the browser offers them in the field of the address', async () => {
    const { page, authenticator } = await withPasskey();
    await authenticator.answer(true);
    await beginLogin(page);
    const { amr } = await claimsAfter(page);
    assert.deepEqual(amr, ['pop', 'user', 'mfa']);
  });

  it('keep the person logged in on this device if the person asks for that', async () => {
    const { page, authenticator } = await withPasskey();
    for (const keeps of [false, true]) {
      await authenticator.answer(false);
      await beginLogin(page);
      await page.getByRole('button', { name: 'Log in with a passkey' }).waitFor();
      await page.getByLabel('Keep me logged in on this device').setChecked(keeps);
      await authenticator.answer(true);
      await page.getByRole('button', { name: 'Log in with a passkey' }).click();
      await claimsAfter(page);
      const cookies = await page.context().cookies(scene.gatehouse.issuer);
      const session = cookies.find(({ name }) => name === 'gatehouse_session');
      assert.equal(session!.expires > 0, keeps);
    }
  });

  it('are the second step after the password', async () => {
    const { page, authenticator, account } = await withPasskey();
    await beginLogin(page);
    await logIn(page, account);
    await page.getByRole('heading', { name: 'Second step' }).waitFor();
    await authenticator.answer(true);
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    const { amr, acr } = await claimsAfter(page);
    assert.deepEqual([amr, acr], [['pwd', 'pop', 'user', 'mfa'], PHISHING_RESISTANT_ACR]);
  });

  it('have names that their owner changes, a last use, and end when they are removed', async () => {
    const { page, authenticator } = await withPasskey('Old name');
    await beginLogin(page);
    await authenticator.answer(true);
    await page.goto(pageUrl);
    await page.getByRole('heading', { name: 'Old name' }).waitFor();
    assert.match(await textOf(page), /Last used/);
    await page.locator('summary').click();
    await page.locator('input[name=name]').first().fill('<b>New</b> name');
    await page.getByRole('button', { name: 'Rename' }).click();
    await page.getByRole('heading', { name: '<b>New</b> name' }).waitFor();
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByText('It has been removed').waitFor();
    // the page tells the browser which passkeys are left, and Chromium listens
    await until(async () => (await authenticator.credentials()).length === 0);
  });

  it('that the server no longer has are refused, and the browser forgets them', async () => {
    const { page, authenticator, account } = await withPasskey();
    await scene.gatehouse.database.deleteFrom('passkeys').where('account_id', '=', account.accountId).execute();
    assert.equal((await authenticator.credentials()).length, 1);
    await authenticator.answer(true);
    await beginLogin(page);
    await page.getByText('This passkey is not registered here any more').waitFor();
    await until(async () => (await authenticator.credentials()).length === 0);
  });

  it('have pages that are accessible and fit a phone', async () => {
    const { page, authenticator, account } = await withPasskey();
    await page.setViewportSize({ width: 320, height: 640 });
    const look = async (): Promise<void> => {
      await assertAccessible(page);
      assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 320);
    };
    await look();
    await assertFits(page);
    for (const path of ['authenticator', 'recovery-codes', 'remembered-devices']) {
      await page.goto(`${scene.gatehouse.issuer}/account/${path}`);
      await look();
      await assertFits(page);
    }
    await beginLogin(page);
    await page.getByRole('button', { name: 'Log in with a passkey' }).waitFor();
    await look();
    await logIn(page, account);
    await page.getByRole('button', { name: 'Use a passkey' }).waitFor();
    await look();
    assert.equal((await authenticator.credentials()).length, 1);
  });
});

describe('a server whose host is an IP address', () => {
  it('says at its start why it offers no passkeys, and hides them', async () => {
    const gatehouse = await startGatehouse();
    try {
      const said = gatehouse.log.filter((line) => line.includes('use passkeys'));
      assert.equal(said.length, 1);
      assert.match(said[0]!, /127\.0\.0\.1 of the issuer is an IP address/);
      const { page } = await new Person(gatehouse).open(`${gatehouse.issuer}/account/login`);
      assert.equal(page.includes('passkeys.js') || page.includes('data-passkey'), false);
      const person = new Person(gatehouse);
      await person.walk(`${gatehouse.issuer}/account/login`);
      assert.equal(
        (await person.open(`${gatehouse.issuer}/account/security`)).page.includes('/account/passkeys'),
        false,
      );
      assert.equal((await person.open(`${gatehouse.issuer}/account/passkeys`)).response.status, 404);
    } finally {
      await gatehouse.stop();
    }
  });
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 100; look++) {
    if (await holds()) return;
    await delay(50);
  }
  assert.fail('It did not happen within five seconds.');
}
