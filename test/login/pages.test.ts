import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { createAccount } from '../../src/accounts/account.ts';
import { SYSTEM } from '../../src/audit/events.ts';
import { Argon2id } from '../../src/password_hashing/argon2id.ts';
import { transact } from '../../src/db/transaction.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { assertAccessible, logIn, press, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const WRONG = 'The e-mail address or the password is not right.';

describe('the login page', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('leads from an application to its callback by keyboard alone', async () => {
    const page = await scene.visit();
    await page.goto(
      scene.application.authorizationUrl({ scope: 'openid notes:read', resource: scene.gatehouse.demo.resource }),
    );
    await page.locator('#email:focus').waitFor(); // the first empty field gets the focus, a moment after the page came
    await page.keyboard.type(scene.gatehouse.account.email);
    await page.keyboard.press('Tab');
    await page.keyboard.type(scene.gatehouse.account.password);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Allow Notes & Co?' }).waitFor();
    await press(page, 'Allow');
    await page.waitForURL(`${scene.application.redirectUri}?**`);
    const { status, body } = await scene.application.redeem(page.url());
    assert.equal(status, 200);
    assert.equal(body['scope'], 'notes:read');
  });

  it('works with JavaScript switched off', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    const callback = await signIn(page, scene);
    assert.equal((await scene.application.redeem(callback)).status, 200);
  });

  it('says the same, in the same status, of a wrong password, an unknown and a disabled account (CVE-2025-64102)', async () => {
    const disabled = await addAccount(scene.gatehouse, 'disabled@example.com');
    await scene.gatehouse.database
      .updateTable('accounts')
      .set({ disabled_at: new Date() })
      .where('email', '=', disabled.email)
      .execute();
    const wrong = await tryLogin({ email: scene.gatehouse.account.email, password: 'not the password' });
    const unknown = await tryLogin({ email: 'nobody@example.com', password: 'not the password' });
    const locked = await tryLogin(disabled);
    assert.equal(wrong.status, 401);
    assert.match(wrong.html, new RegExp(WRONG));
    assert.deepEqual(unknown, wrong);
    assert.deepEqual(locked, wrong);

    const reasons = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select(['account_id', 'details'])
      .where('event', '=', 'login.failed')
      .orderBy('occurred_at')
      .execute();
    assert.deepEqual(
      reasons.slice(-3).map(({ account_id, details }) => [account_id !== null, details['reason']]),
      [
        [true, 'wrong_password'],
        [false, 'unknown_account'],
        [true, 'account_disabled'],
      ],
    );
    assert.equal(JSON.stringify(reasons).includes('not the password'), false);
  });

  it('takes as long for an address without an account as for a wrong password (LOG-05, CVE-2026-23511)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const measure = async (typed: string): Promise<number> => {
      const began = performance.now();
      const form = { email: typed, password: 'not the password' };
      assert.equal((await page.request.post(`${page.url()}/login`, { form })).status(), 401);
      return performance.now() - began;
    };
    await measure('nobody@example.com'); // the first one makes what the others are compared with
    let [known, unknown]: [number[], number[]] = [[], []];
    // one argon2id pass takes much longer than all the rest: without it the quickest would be far quicker
    const asLong = () => Math.min(...unknown) > Math.min(...known) * 0.6;
    // a machine that is busy with something else can make one look wrong, but hardly three
    for (let look = 1; look === 1 || (look <= 3 && !asLong()); look++) {
      // few attempts are allowed for one account
      const { email } = await addAccount(scene.gatehouse, `timed-${look}@example.com`);
      [known, unknown] = [[], []];
      for (let i = 0; i < 4; i++) {
        known.push(await measure(email));
        unknown.push(await measure(`nobody-${look}-${i}@example.com`));
      }
    }
    assert.ok(asLong(), `${unknown.join()} against ${known.join()}`);
  });

  it('keeps the address that was typed and forgets the password', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await logIn(page, { email: 'typed@example.com', password: 'typed-password-4711' });
    assert.match(await textOf(page), new RegExp(WRONG));
    assert.equal(await page.getByLabel('E-mail address').inputValue(), 'typed@example.com');
    assert.equal((await page.content()).includes('typed-password-4711'), false);
    assert.equal(await page.evaluate('document.activeElement.id'), 'password');
  });

  it('shows a login_hint with markup in it as text (LOG-07)', async () => {
    const page = await scene.visit();
    const hostile = '"><script>document.title="owned"</script>';
    await page.goto(scene.application.authorizationUrl({ login_hint: hostile, ui_locales: hostile }));
    assert.equal(await page.getByLabel('E-mail address').inputValue(), hostile);
    assert.equal(await page.locator('script:not([src])').count(), 0);
    assert.match(await page.title(), /^Log in to continue to Notes & Co/);
  });

  it('gives an answer that is 303 and stored by no cache after the password was sent', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const { email, password } = scene.gatehouse.account;
    const answer = await page.request.post(`${page.url()}/login`, { form: { email, password }, maxRedirects: 0 });
    assert.equal(answer.status(), 303);
    assert.equal((await page.request.get(page.url())).headers()['cache-control'], 'no-store');
  });

  it('lasts as long as the browser is open, or longer where that was asked for', async () => {
    const short = await scene.visit();
    await signIn(short, scene);
    assert.equal((await sessionCookie(short))?.expires, -1);

    const long = await scene.visit();
    await long.goto(scene.application.authorizationUrl());
    await long.getByLabel('Keep me logged in on this device').check();
    await logIn(long, scene.gatehouse.account);
    assert.ok((await sessionCookie(long))!.expires > Date.now() / 1000 + 86_400);
  });

  it('tells the application when the person cancels', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await page.getByRole('button', { name: 'Cancel and go back' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?**`);
    assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied');
  });

  it('has nothing that axe objects to, with any message', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await assertAccessible(page);
    await logIn(page, { email: 'axe@example.com', password: 'wrong' });
    await assertAccessible(page);
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
    assert.match(await textOf(page), /Confirm that it’s you/);
    await assertAccessible(page);
  });

  it('fits a screen of 320 pixels with targets that a finger can hit', async () => {
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await page.goto(scene.application.authorizationUrl({ login_hint: `${'long'.repeat(20)}@example.com` }));
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 320);
    for (const target of await page.locator('button, input:not([type=checkbox]), .check').all()) {
      assert.ok((await target.boundingBox())!.height >= 44, await target.innerText());
    }
  });

  async function tryLogin(typed: { email: string; password: string }): Promise<{ status: number; html: string }> {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const answer = await page.request.post(`${page.url()}/login`, { form: typed });
    const uid = page.url().split('/').at(-1)!;
    return {
      status: answer.status(),
      html: (await answer.text()).replaceAll(uid, 'UID').replaceAll(typed.email, 'EMAIL'),
    };
  }
});

describe('a person who is logged in', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('confirms with the password where the application demands it', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    for (const parameters of [{ prompt: 'login' }, { max_age: '0' }]) {
      await page.goto(scene.application.authorizationUrl(parameters));
      assert.match(await textOf(page), /Confirm that it’s you .* ?You are logged in as demo@example\.com/);
      await page.getByLabel('Password').fill(scene.gatehouse.account.password);
      await page.getByRole('button', { name: 'Confirm' }).click();
      await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    }
  });

  it('can use another account instead, which ends the session of the first', async () => {
    const other = await addAccount(scene.gatehouse, 'other@example.com');
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
    await page.getByRole('link', { name: 'Use another account' }).click();
    assert.equal(await page.getByLabel('E-mail address').inputValue(), '');
    await logIn(page, other);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /other@example\.com/);
  });

  it('gets another session id at each login, and the one before is worth nothing (LOG-03, GHSA-mq4x-r2w3-j7mr)', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const planted = await page.context().cookies();
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
    await logIn(page, scene.gatehouse.account);
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
    assert.notEqual(
      (await sessionCookie(page))!.value,
      planted.find(({ name }) => name === 'gatehouse_session')!.value,
    );

    const attacker = await scene.visit();
    await attacker.context().addCookies(planted);
    await attacker.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(attacker), /You are not logged in/);
  });
});

describe('guessing passwords', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('is slowed down after five tries, in the same way whether there is such an account or not', async () => {
    const answers: string[] = [];
    for (const email of [scene.gatehouse.account.email, 'nobody@example.com']) {
      const page = await scene.visit();
      await page.goto(scene.application.authorizationUrl());
      const post = (password: string) => page.request.post(`${page.url()}/login`, { form: { email, password } });
      for (let i = 0; i < 5; i++) assert.equal((await post('guess')).status(), 401);
      const refused = await post(scene.gatehouse.account.password); // even the right one
      assert.equal(refused.status(), 429);
      assert.match(refused.headers()['retry-after']!, /^([1-9]|[1-5]\d|60)$/);
      await logIn(page, { email, password: 'guess' });
      await page.getByText('There were too many attempts').waitFor();
      answers.push((await textOf(page)).replace(/\d+ seconds?/, 'N seconds'));
      await assertAccessible(page);
    }
    assert.match(answers[0]!, /There were too many attempts to log in\. Wait N seconds, then try again\./);
    assert.equal(answers[1], answers[0]);
  });

  it('is counted before the password is looked at, so many guesses at once are as slow as one after the other', async () => {
    const { email } = await addAccount(scene.gatehouse, 'parallel@example.com');
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const guess = () => page.request.post(`${page.url()}/login`, { form: { email, password: 'guess' } });
    const statuses = (await Promise.all(Array.from({ length: 20 }, guess))).map((answer) => answer.status());
    assert.equal(statuses.filter((status) => status === 401).length, 5);
    assert.equal(statuses.filter((status) => status === 429).length, 15);
  });

  it('is not what a person does who logs in often', async () => {
    const { email, password } = await addAccount(scene.gatehouse, 'often@example.com');
    for (let i = 0; i < 7; i++) {
      const page = await scene.visit();
      await page.goto(scene.application.authorizationUrl());
      const answer = await page.request.post(`${page.url()}/login`, { form: { email, password }, maxRedirects: 0 });
      assert.equal(answer.status(), 303);
    }
  });
});

async function sessionCookie(page: Page) {
  return (await page.context().cookies()).find(({ name }) => name === 'gatehouse_session');
}

async function addAccount({ database }: Gatehouse, email: string): Promise<{ email: string; password: string }> {
  const trail = await openTrail(database);
  const password = 'another good password';
  const password_hash = await new Argon2id(1).hash(password);
  const values = { email, email_verified: true, name: null, password_hash };
  await transact(database, (tx) => createAccount({ tx, trail, origin: SYSTEM, now: new Date() }, values));
  return { email, password };
}
