import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import type { APIResponse, Page } from 'playwright-core';
import { finishSignIn, logIn, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

const EXPIRED = 'This login has expired or was started in another browser. Go back to the application and try again.';

describe('the pages', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  it('can’t be completed in another browser than the one that was sent to them (LOG-01)', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const elsewhere = await scene.visit();
    const answer = await elsewhere.goto(page.url());
    assert.equal(answer!.status(), 400);
    assert.match(await textOf(elsewhere), new RegExp(EXPIRED));
    const { email, password } = scene.gatehouse.account;
    const posted = await elsewhere.request.post(`${page.url()}/login`, { form: { email, password }, maxRedirects: 0 });
    assert.equal(posted.status(), 400);
    // a cookie made up from the address does not help: cookies are signed
    const uid = page.url().split('/').at(-1)!;
    await elsewhere.context().addCookies([{ name: 'gatehouse_interaction', value: uid, url: page.url() }]);
    assert.equal((await elsewhere.request.get(page.url())).status(), 400);
  });

  it('can’t be opened with the cookie of another sign-in', async () => {
    const [one, other] = [await scene.visit(), await scene.visit()];
    await one.goto(scene.application.authorizationUrl());
    await other.goto(scene.application.authorizationUrl());
    const cookies = await one.context().cookies(one.url());
    const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
    assert.equal((await fetch(one.url(), { headers: { cookie } })).status, 200);
    assert.equal((await fetch(other.url(), { headers: { cookie } })).status, 400);
  });

  it('say so when a sign-in is used a second time from the browser’s history', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const stale = page.url();
    await finishSignIn(page, scene);
    await page.goto(stale);
    assert.match(await textOf(page), new RegExp(EXPIRED));
  });

  it('take no form from another site', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const { email, password } = scene.gatehouse.account;
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ]) {
      const answer = await page.request.post(`${page.url()}/login`, {
        form: { email, password },
        headers,
        maxRedirects: 0,
      });
      assert.equal(answer.status(), 403, JSON.stringify(headers));
      assert.match(await answer.text(), /sent from another site/);
    }
    const honest = { origin: new URL(page.url()).origin, 'sec-fetch-site': 'same-origin' };
    assert.equal(
      (
        await page.request.post(`${page.url()}/login`, { form: { email, password }, headers: honest, maxRedirects: 0 })
      ).status(),
      303,
    );
  });

  it('answer forms that no browser sends with a plain page, never with a 5xx', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const login = `${page.url()}/login`;
    const urlencoded = { 'content-type': 'application/x-www-form-urlencoded' };
    const attempts: [number, Parameters<Page['request']['post']>[1]][] = [
      [413, { form: { email: 'a@example.com', password: 'x'.repeat(20_000) } }],
      [413, { headers: urlencoded, data: 'x'.repeat(2_000_000) }],
      [415, { data: { email: 'a@example.com', password: 'x' } }],
      [415, { headers: { ...urlencoded, 'content-encoding': 'gzip' }, data: 'email=a' }],
      [400, { form: {} }],
      [400, { form: { email: 'a@example.com' } }],
      [400, { form: { email: 'a\u0000@example.com', password: 'x' } }],
      [400, { form: { email: `${'a'.repeat(250)}@example.com`, password: 'x' } }],
      [400, { form: { email: 'a@example.com', password: 'x'.repeat(257) } }],
      [400, { headers: urlencoded, data: 'email=a&email=b&password=x' }],
      [401, { headers: urlencoded, data: 'email=%ff%fe&password=%zz&unknown=1&__proto__=2' }],
    ];
    for (const [status, options] of attempts) {
      const answer = await page.request.post(login, options);
      await assertPage(answer, status);
    }
    await assertPage(await page.request.post(`${page.url()}/consent`, { form: { decision: 'allow' } }), 200); // the login page again
  });

  it('give an oversized body that never ends an answer, and hang up', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const cookie = (await page.context().cookies(page.url())).map(({ name, value }) => `${name}=${value}`).join('; ');
    const status = await new Promise((resolve, reject) => {
      const headers = { cookie, 'content-type': 'application/x-www-form-urlencoded', 'transfer-encoding': 'chunked' };
      const endless = request(`${page.url()}/login`, { method: 'POST', headers }, (answer) => {
        resolve(answer.statusCode);
        endless.destroy();
      });
      endless.on('error', reject);
      const write = (): void => void (endless.destroyed || endless.write('x'.repeat(65_536), write));
      write();
    });
    assert.equal(status, 413);
  });

  it('allow no script but one of our files, no frame, no foreign resource, and tell no other site where the person was', async () => {
    const page = await scene.visit();
    const answer = await page.goto(scene.application.authorizationUrl());
    const headers = answer!.headers();
    const policy = headers['content-security-policy']!.split('; ');
    for (const directive of ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"])
      assert.ok(policy.includes(directive), directive);
    const { origin } = new URL(scene.gatehouse.issuer);
    const [script] = policy.filter((directive) => directive.startsWith('script-src'));
    assert.match(script!.replace(origin, ''), /^script-src \/assets\/[0-9a-f]{20}\.js$/);
    assert.equal(headers['x-frame-options'], 'DENY');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cache-control'], 'no-store');
    assert.doesNotMatch(
      await answer!.text(),
      /<script(?! src="\/assets\/[0-9a-f]{20}\.js" defer><\/script>)|<style|\sstyle=|\son\w+=|https?:\/\/(?!127\.0\.0\.1)/,
    );

    await signIn(page, scene);
    const referrer = await page.evaluate('document.referrer');
    assert.equal(referrer, '');
  });

  it('can’t be put into a frame', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.origin);
    await page.setContent(`<iframe src="${scene.application.authorizationUrl()}"></iframe>`);
    await page.waitForTimeout(500);
    assert.match(page.frames().at(-1)!.url(), /^chrome-error:/);
  });

  it('keep the tie to an application that opened them in a popup', async () => {
    const page = await scene.visit();
    await page.goto(`${scene.application.origin}/opener`);
    const [popup] = await Promise.all([
      page.waitForEvent('popup'),
      page.evaluate(`void window.open(${JSON.stringify(scene.application.authorizationUrl())})`),
    ]);
    await popup.getByLabel('Password').waitFor();
    await finishSignIn(popup, scene);
    assert.equal(await popup.evaluate('window.opener.location.pathname'), '/opener');
  });

  it('let form_post carry the code to the application under the same policy', async () => {
    const page = await scene.visit();
    const posted = page.waitForRequest(
      (sent) => sent.url() === scene.application.redirectUri && sent.method() === 'POST',
    );
    await page.goto(scene.application.authorizationUrl({ response_mode: 'form_post' }));
    await finishSignIn(page, scene);
    assert.match((await posted).postData()!, /^code=/);
    await page.getByText('Back at the application').waitFor();
  });

  it('serve styles under the hash of their content, to be kept for ever', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    const href = (await page.locator('link[rel=stylesheet]').getAttribute('href'))!;
    assert.match(href, /^\/assets\/[0-9a-f]{20}\.css$/);
    const answer = await page.request.get(scene.gatehouse.issuer + href);
    assert.match(answer.headers()['cache-control']!, /max-age=31536000, immutable/);
    assert.match(answer.headers()['content-type']!, /^text\/css/);
    for (const other of ['/assets/pages.css', '/assets/..%2flayout.eta', '/assets/layout.eta']) {
      assert.equal((await page.request.get(scene.gatehouse.issuer + other)).status(), 404, other);
    }
  });

  it('show an error of the protocol as text, with the id that finds the request in the log', async () => {
    const page = await scene.visit();
    const hostile = '<img src=x onerror=document.title=1>';
    const answer = await page.goto(
      scene.application.authorizationUrl({ redirect_uri: `https://evil.example/${hostile}`, state: hostile }),
    );
    assert.equal(answer!.status(), 400);
    assert.match(await textOf(page), /This request can’t be completed .* invalid_redirect_uri|invalid_request/);
    assert.equal(await page.locator('img').count(), 0);
    assert.equal(await page.locator('[onerror]').count(), 0);
    assert.match(await page.title(), /^This request can’t be completed/);
    assert.match(await textOf(page), new RegExp(answer!.headers()['x-request-id']!));
  });
});

describe('an issuer with a path', () => {
  it('has its pages, forms and styles below that path', async (t) => {
    const scene = await setScene({ path: '/tenant/one' });
    t.after(() => scene.stop());
    const page = await scene.visit();
    const callback = await signIn(page, scene, { scope: 'openid offline_access', prompt: 'consent' });
    assert.equal((await scene.application.redeem(callback)).status, 200);
    await page.goto(`${scene.gatehouse.issuer}/account/applications`);
    assert.equal(await page.locator('.panel').evaluate((panel) => getComputedStyle(panel).borderTopStyle), 'solid');
    await page.getByRole('button', { name: 'Take back access' }).click();
    assert.match(await textOf(page), /The access has been taken back/);
    await page.getByRole('link', { name: 'Log out' }).click();
    await page.getByRole('button', { name: 'Log out' }).click();
    assert.match(await textOf(page), /You are logged out/);
  });
});

describe('an application with a hostile name', () => {
  it('sees its name shown as text', async (t) => {
    const name = '<b>Bank</b><script>document.title="owned"</script>';
    const scene = await setScene({ application: { client_name: name } });
    t.after(() => scene.stop());
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    assert.ok((await textOf(page)).includes(name));
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).waitFor();
    assert.ok((await textOf(page)).includes(name));
    assert.equal(await page.locator('main b, main script, title script').count(), 0);
  });
});

async function assertPage(answer: APIResponse, status: number): Promise<void> {
  const html = await answer.text();
  assert.equal(answer.status(), status, html);
  assert.match(html, /^<!doctype html>/);
  assert.match(html, /<h1>/);
}
