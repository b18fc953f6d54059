import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { Admin } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  assertAccessible,
  assertFits,
  finishSignIn,
  logIn,
  press,
  setScene,
  textOf,
  type Scene,
} from '../support/person/pages.ts';

const NEW = 'a new password of several words';

describe('the page to change a password', () => {
  let scene: Scene;
  let admin: Admin;
  let accountId: string;
  let count = 0;
  let account: { email: string; password: string };
  before(async () => {
    scene = await setScene();
    admin = await Admin.of(scene.gatehouse);
  });
  after(() => scene.stop());
  afterEach(resetClock);
  beforeEach(async () => {
    account = { email: `person${count++}@example.com`, password: 'an old password of many words' };
    accountId = (await admin.post('/accounts', account)).body.account_id;
  });

  it('asks for a login first, and comes back after it', async () => {
    const page = await open();
    assert.match(await textOf(page), /^Security Password You stay logged in here/);
    assert.equal(await page.getByLabel('E-mail address').inputValue(), account.email);
    assert.equal(new URL(page.url()).pathname, '/account/password');
  });

  it('asks for the password again if the login is more than ten minutes old', async () => {
    const page = await open();
    moveClock(540);
    await page.goto(address());
    await page.getByLabel('New password').waitFor();
    moveClock(61);
    await page.goto(address());
    assert.match(await textOf(page), /^Confirm that it’s you/);
    await logIn(page, account);
    await page.getByLabel('New password').waitFor();
    // the page was open for too long
    moveClock(601);
    await submit(page, NEW);
    assert.match(await textOf(page), /^Confirm that it’s you/);
    assert.equal(await changes(), 0);
  });

  it('changes the password: the new one is right and the old one wrong, and the change is in the trail', async () => {
    const page = await open();
    await submit(page, NEW);
    assert.match(await textOf(page), /Your password has been changed\. You are logged out everywhere else\./);
    assert.equal(await changes(), 1);
    const other = await scene.visit();
    await other.goto(`${scene.gatehouse.issuer}/account/login`);
    await logIn(other, account);
    assert.match(await textOf(other), /is not right/);
    await logIn(other, { ...account, password: NEW });
    await other.getByRole('heading', { name: 'Profile' }).waitFor();
  });

  it('ends all other sessions and their grants, keeps this one, and gives it another cookie', async () => {
    const [here, there] = [await scene.visit(), await scene.visit()];
    const own = { gatehouse: { ...scene.gatehouse, account }, application: scene.application } as Scene;
    const tokens = await Promise.all(
      [here, there].map(async (page) => {
        await page.goto(scene.application.authorizationUrl({ scope: 'openid offline_access', prompt: 'consent' }));
        const { body } = await scene.application.redeem(await finishSignIn(page, own));
        return String(body['refresh_token']);
      }),
    );
    await here.goto(address());
    const earlier = await sessionCookie(here);
    await submit(here, NEW);
    assert.match(await textOf(here), /Your password has been changed/);
    assert.notEqual(await sessionCookie(here), earlier);
    await there.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(there), /^You are not logged in/);
    assert.deepEqual(await Promise.all(tokens.map(refresh)), [200, 400]);
    // a copy of the cookie from before the change is worth nothing
    const copy = await scene.visit();
    await copy.context().addCookies([earlier!]);
    await copy.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(copy), /^You are not logged in/);
    await here.goto(`${scene.gatehouse.issuer}/account/devices`);
    assert.match(await textOf(here), /^Devices .* This device/);
  });

  it('keeps the session as long as before: until the browser ends, or for days', async () => {
    for (const remember of [false, true]) {
      const page = await scene.visit();
      await page.goto(address());
      if (remember) await page.getByLabel('Keep me logged in').check();
      await logIn(page, { ...account, password: remember ? NEW : account.password });
      await page.getByLabel('New password').waitFor();
      const earlier = await sessionCookie(page);
      await submit(page, NEW);
      const renewed = await sessionCookie(page);
      assert.equal(renewed!.expires === -1, !remember);
      assert.ok(Math.abs(renewed!.expires - earlier!.expires) < 60);
      assert.deepEqual([renewed!.httpOnly, renewed!.sameSite], [true, 'Lax']);
    }
  });

  it('says what is wrong with a password, and changes nothing', async () => {
    const page = await open();
    for (const [password, sentence] of [
      ['too short', 'The password must have at least 15 characters.'],
      ['passwordpassword', 'The password must not be one that attackers try first'],
      [account.email, 'The password must not consist of your name, your e-mail address'],
    ] as const) {
      await submit(page, password);
      assert.ok((await textOf(page)).includes(sentence), await textOf(page));
      assert.equal(await page.getByLabel('New password').getAttribute('aria-invalid'), 'true');
      await assertAccessible(page);
    }
    assert.equal(await changes(), 0);
  });

  it('works without a script, where the password is typed twice instead of shown', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    await page.goto(address());
    await logIn(page, account);
    await page.getByLabel('New password again').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Show password' }).count(), 0);
    await page.getByLabel('New password', { exact: true }).fill(NEW);
    await page.getByLabel('New password again').fill(`${NEW}!`);
    await page.getByRole('button', { name: 'Change password' }).click();
    assert.match(await textOf(page), /The two passwords are not the same/);
    await page.getByLabel('New password', { exact: true }).fill(NEW);
    await page.getByLabel('New password again').fill(NEW);
    await page.getByRole('button', { name: 'Change password' }).click();
    assert.match(await textOf(page), /Your password has been changed/);
  });

  it('shows what was typed, by a button that a script of ours adds, and hides it when the form is sent', async () => {
    const page = await open();
    const field = page.getByLabel('New password');
    await field.fill('typed');
    await page.getByRole('button', { name: 'Show password' }).click();
    assert.equal(await field.getAttribute('type'), 'text');
    await assertAccessible(page);
    await page.getByRole('button', { name: 'Hide password' }).click();
    assert.equal(await field.getAttribute('type'), 'password');
    const answer = await page.goto(address());
    const policy = answer!.headers()['content-security-policy'] ?? '';
    assert.match(policy, /script-src http:\/\/127\.0\.0\.1:\d+\/assets\/[0-9a-f]{20}\.js(;|$)/);
  });

  it('lets a person paste, and can be used by keyboard on a small screen', async () => {
    const page = await open({ viewport: { width: 320, height: 640 } });
    await assertFits(page);
    await page.getByLabel('New password').focus();
    await page.evaluate(`(() => {
      const data = new DataTransfer();
      data.setData('text', 'x');
      const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
      window.pasteIsAllowed = document.activeElement.dispatchEvent(event);
    })()`);
    assert.equal(await page.evaluate('window.pasteIsAllowed'), true);
    await page.keyboard.insertText(NEW);
    await press(page, 'Change password');
    await page.getByText('Your password has been changed').waitFor();
  });

  it('takes no form of another site, without its token, or of a session that has ended', async () => {
    const page = await open();
    const form_token = (await page.locator('[name=form_token]').first().getAttribute('value'))!;
    const post = async (form: Record<string, string>, headers: Record<string, string> = {}) =>
      (await page.request.post(address(), { form, headers, maxRedirects: 0 })).status();
    const new_password = NEW;
    assert.equal(await post({ new_password }), 400);
    assert.equal(await post({ new_password, form_token: 'x' }), 403);
    assert.equal(await post({ new_password, form_token }, { origin: 'https://evil.example' }), 403);
    assert.equal(await post({ new_password: 'x'.repeat(2_000), form_token }), 400);
    await admin.delete(`/accounts/${accountId}/sessions`);
    assert.equal(await post({ new_password, form_token }), 303);
    assert.equal(await changes(), 0);
  });

  it('changes the password once for two forms at once', async () => {
    const page = await open();
    const form_token = (await page.locator('[name=form_token]').first().getAttribute('value'))!;
    const answers = await Promise.all(
      ['first', 'second'].map((word) =>
        page.request.post(address(), { form: { form_token, new_password: `${word} ${NEW}` }, maxRedirects: 0 }),
      ),
    );
    assert.deepEqual(
      answers.map((answer) => answer.status()).toSorted((a, b) => a - b),
      [303, 403],
    );
    assert.equal(await changes(), 1);
  });

  it('is where /.well-known/change-password leads', async () => {
    const answer = await fetch(`${scene.gatehouse.issuer}/.well-known/change-password`, { redirect: 'manual' });
    assert.deepEqual([answer.status, answer.headers.get('location')], [303, '/account/password']);
  });

  async function open(options: Parameters<Scene['visit']>[0] = {}): Promise<Page> {
    const page = await scene.visit(options);
    await page.goto(address());
    await logIn(page, account);
    await page.getByLabel('New password').first().waitFor();
    return page;
  }

  async function submit(page: Page, password: string): Promise<void> {
    await page.getByLabel('New password').fill(password);
    await page.getByRole('button', { name: 'Change password' }).click();
  }

  async function sessionCookie(page: Page) {
    return (await page.context().cookies()).find(({ name }) => name === 'gatehouse_session');
  }

  async function refresh(refresh_token: string): Promise<number> {
    const form = { grant_type: 'refresh_token', refresh_token, client_id: scene.application.clientId };
    const body = new URLSearchParams(form);
    return (await fetch(`${scene.gatehouse.issuer}/token`, { method: 'POST', body })).status;
  }

  async function changes(): Promise<number> {
    const rows = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select('actor_id')
      .where('event', '=', 'account.password_changed')
      .where('account_id', '=', accountId)
      .execute();
    assert.ok(rows.every(({ actor_id }) => actor_id === accountId));
    return rows.length;
  }

  function address(): string {
    return `${scene.gatehouse.issuer}/account/password`;
  }
});

describe('the page to change a password of an issuer with a path', () => {
  it('is found at the well-known address of the host', async () => {
    const scene = await setScene({ path: '/id' });
    try {
      const { origin } = new URL(scene.gatehouse.issuer);
      const answer = await fetch(`${origin}/.well-known/change-password`, { redirect: 'manual' });
      assert.deepEqual([answer.status, answer.headers.get('location')], [303, '/id/account/password']);
      const page = await scene.visit();
      await page.goto(`${scene.gatehouse.issuer}/account/password`);
      await signInHere(page, scene);
      await page.getByLabel('New password').fill(NEW);
      await page.getByRole('button', { name: 'Show password' }).click();
      await page.getByRole('button', { name: 'Change password' }).click();
      await page.getByText('Your password has been changed').waitFor();
    } finally {
      await scene.stop();
    }
  });

  function signInHere(page: Page, { gatehouse }: Scene): Promise<void> {
    return logIn(page, gatehouse.account);
  }
});
