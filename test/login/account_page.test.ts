import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { assertAccessible, assertFits, logIn, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

describe('the account centre', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('says that no person is logged in, and nothing else', async () => {
    const page = await scene.visit();
    const answer = await page.goto(account());
    assert.equal(answer!.status(), 200);
    assert.match(await textOf(page), /^You are not logged in/);
    await assertAccessible(page);
  });

  it('shows the person, where they are logged in and which applications have what', async () => {
    const page = await scene.visit();
    await signIn(page, scene, {
      scope: 'openid offline_access notes:read',
      resource: scene.gatehouse.demo.resource,
      prompt: 'consent',
    });
    for (const [section, shown] of [
      ['', /Profile .* Demo Person .* demo@example\.com Verified/],
      ['/security', /Where you are logged in \d+ devices?\. This one: Chrome on Linux\./],
      ['/devices', /Chrome on Linux This device Active now · 127\.0\.0\.1 Logged in .* Used for Notes & Co/],
      ['/applications', /Notes & Co Allowed \d+ \w+ \d{4} Take back access/],
      ['/activity', /You allowed Notes & Co what it asked for .* You logged in/],
      ['/data', /Download your data .* Delete your account/],
    ] as const) {
      await page.goto(account(section));
      assert.match(await textOf(page), shown);
      await assertAccessible(page);
    }
    await page.goto(account('/applications'));
    await page.locator('summary').click();
    assert.match(await textOf(page), /Stay connected .* Notes Read your notes .* Read$/);
    await assertAccessible(page);
  });

  it('fits a screen of 320 pixels with targets that a finger can hit', async () => {
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await signIn(page, scene);
    for (const section of ['', '/security', '/devices', '/applications', '/activity', '/data']) {
      await page.goto(account(section));
      await assertFits(page);
    }
  });

  it('leads through its sections, and back to the section for which the person logs in', async () => {
    const page = await scene.visit();
    await page.goto(account('/devices'));
    assert.match(await textOf(page), /^You are not logged in/);
    await page.getByRole('link', { name: 'Log in' }).click();
    await logIn(page, scene.gatehouse.account);
    for (const section of ['Devices', 'Profile', 'Security', 'Applications', 'Activity', 'Your data']) {
      if (section !== 'Devices') await page.getByRole('navigation').getByRole('link', { name: section }).click();
      await page.getByRole('heading', { level: 1, name: section }).waitFor();
      assert.match(await page.locator('[aria-current=page]').innerText(), new RegExp(`^${section}`));
    }
  });

  it('takes back an application’s access: its refresh token is dead and consent is asked again', async () => {
    const page = await scene.visit();
    const callback = await signIn(page, scene, { scope: 'openid offline_access', prompt: 'consent' });
    const { body } = await scene.application.redeem(callback);
    const refreshToken = String(body['refresh_token']);
    await page.goto(account('/applications'));
    await page.getByRole('button', { name: 'Take back access of Notes & Co' }).click();
    assert.match(await textOf(page), /The access has been taken back.* No application has access/);
    await assertAccessible(page);

    const form = { grant_type: 'refresh_token', refresh_token: refreshToken, client_id: scene.application.clientId };
    const refreshed = await fetch(`${scene.gatehouse.issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams(form),
    });
    assert.deepEqual([refreshed.status, ((await refreshed.json()) as { error: string }).error], [400, 'invalid_grant']);
    await page.goto(scene.application.authorizationUrl());
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    assert.equal(await audited('consent.withdrawn'), 1);
  });

  it('ends a session in another browser at once', async () => {
    const [here, there] = [await scene.visit(), await scene.visit()];
    await signIn(there, scene);
    await signIn(here, scene);
    await here.goto(account('/devices'));
    const others = here.getByRole('listitem').filter({ hasText: 'Logged in', hasNotText: 'This device' });
    const ended = await audited('session.ended');
    for (let left = await others.count(); left > 0; left--) await others.first().getByRole('button').click();
    assert.match(await textOf(here), /That device is logged out\./);
    assert.ok((await audited('session.ended')) > ended);
    await there.goto(account());
    assert.match(await textOf(there), /^You are not logged in/);
    await there.goto(scene.application.authorizationUrl());
    await there.getByLabel('Password').waitFor();
  });

  it('logs this browser out when its own session is ended', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    await page.goto(account('/devices'));
    await page.getByRole('listitem').filter({ hasText: 'This device' }).getByRole('button').click();
    assert.match(await textOf(page), /^You are not logged in That device is logged out\./);
  });

  it('ends all other sessions and keeps this one', async () => {
    const [here, there] = [await scene.visit(), await scene.visit()];
    await signIn(there, scene);
    await signIn(here, scene);
    await here.goto(account('/security'));
    await here.getByRole('button', { name: 'Log out of all others' }).click();
    assert.match(await textOf(here), /All other devices are logged out\. .* This device/);
    assert.equal(await here.getByRole('button', { name: 'Log out of all others' }).count(), 0);
    await there.goto(account());
    assert.match(await textOf(there), /^You are not logged in/);
  });

  it('ends all sessions of the person with one button, by keyboard and without a script (FIELD-E9)', async () => {
    const [here, there] = [await scene.visit({ javaScriptEnabled: false }), await scene.visit()];
    await signIn(there, scene);
    await signIn(here, scene);
    await here.goto(account('/devices'));
    await here.getByRole('button', { name: 'Log out everywhere' }).focus();
    await here.keyboard.press('Enter');
    await here.getByRole('heading', { name: 'You are not logged in' }).waitFor();
    assert.match(await textOf(here), /All devices are logged out, also this one\./);
    await there.goto(account());
    assert.match(await textOf(there), /^You are not logged in/);
    const answer = await there.request.post(`${account()}/devices/end-all`, { maxRedirects: 0 });
    assert.equal(answer.status(), 403, 'for nobody there is nothing to end');
  });

  it('changes nothing for a form of another site, without the token, or with the token of another session', async () => {
    const [page, attacker] = [await scene.visit(), await scene.visit()];
    await signIn(page, scene);
    await signIn(attacker, scene);
    const [own, foreign] = [await tokenOf(page), await tokenOf(attacker)];
    assert.notEqual(own, foreign);
    const client_id = scene.application.clientId;
    const withdrawn = await audited('consent.withdrawn');
    const forged: Parameters<Page['request']['post']>[1][] = [
      { form: { client_id } },
      { form: { client_id, form_token: '' } },
      { form: { client_id, form_token: foreign } },
      { form: { client_id, form_token: own }, headers: { origin: 'https://evil.example' } },
      { form: { client_id, form_token: own }, headers: { 'sec-fetch-site': 'cross-site' } },
    ];
    for (const options of forged) {
      const answer = await page.request.post(`${account()}/applications/take-back`, { ...options!, maxRedirects: 0 });
      assert.ok([400, 403].includes(answer.status()), JSON.stringify(options));
    }
    assert.equal(await audited('consent.withdrawn'), withdrawn);
    const honest = await page.request.post(`${account()}/applications/take-back`, {
      form: { client_id, form_token: own },
      maxRedirects: 0,
    });
    assert.equal(honest.status(), 303);
    assert.equal(await audited('consent.withdrawn'), withdrawn + 1);
  });

  it('answers unknown ids with the same page, never with a 5xx', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const form_token = await tokenOf(page);
    const attempts = [
      [303, 'nobody'],
      [400, ''],
      [400, 'a\u0000b'],
      [400, 'x'.repeat(3000)],
    ] as const;
    for (const [status, session_id] of attempts) {
      const answer = await page.request.post(`${account()}/devices/end`, {
        form: { form_token, session_id },
        maxRedirects: 0,
      });
      assert.equal(answer.status(), status);
    }
  });

  it('shows nothing any more to someone whose account was disabled', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const accounts = () =>
      scene.gatehouse.database.updateTable('accounts').where('email', '=', scene.gatehouse.account.email);
    await accounts().set({ disabled_at: new Date() }).execute();
    await page.goto(account());
    assert.match(await textOf(page), /^You are not logged in/);
    await accounts().set({ disabled_at: null }).execute();
    await page.goto(scene.application.authorizationUrl({ prompt: 'login' }));
    await logIn(page, scene.gatehouse.account);
  });

  function account(section = ''): string {
    return `${scene.gatehouse.issuer}/account${section}`;
  }

  async function tokenOf(page: Page): Promise<string> {
    await page.goto(account('/devices'));
    return page.locator('input[name=form_token]').first().inputValue();
  }

  async function audited(event: string): Promise<number> {
    const events = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select('sequence')
      .where('event', '=', event)
      .execute();
    return events.length;
  }
});
