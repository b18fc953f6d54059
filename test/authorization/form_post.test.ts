import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { assertAccessible, logIn, setScene, signIn, textOf, type Scene } from '../support/person/pages.ts';

const BY_POST = { response_mode: 'form_post' };

describe('an answer by form_post', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  /** The page that carries the answer, held where it is: without scripts it waits for the person. */
  const carrier = async (parameters: Readonly<Record<string, string>>, width = 900): Promise<Page> => {
    const page = await scene.visit({ javaScriptEnabled: false, viewport: { width, height: 700 } });
    await page.goto(scene.application.authorizationUrl({ ...BY_POST, ...parameters }));
    if (await page.getByLabel('Password').isVisible()) await logIn(page, scene.gatehouse.account);
    const allow = page.getByRole('button', { name: 'Allow' });
    if (await allow.isVisible()) await allow.click();
    return page;
  };
  const posted = (page: Page) =>
    page.waitForRequest((sent) => sent.url() === scene.application.redirectUri && sent.method() === 'POST');

  it('goes by itself where scripts run, and no other script could run', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const [request] = await Promise.all([posted(page), page.goto(scene.application.authorizationUrl(BY_POST))]);
    const fields = new URLSearchParams(request.postData()!);
    assert.deepEqual([...fields.keys()].sort(), ['code', 'iss', 'state']);
    await page.getByText('Back at the application').waitFor();
  });

  it('waits on a page of ours where they don’t, and continues by keyboard', async () => {
    const page = await carrier({ state: 'by hand' });
    const destination = new URL(scene.application.origin).host;
    assert.match(await textOf(page), new RegExp(`^One moment You are being sent back to .*${destination}`));
    const request = posted(page);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal(new URLSearchParams((await request).postData()!).get('state'), 'by hand');
    await page.getByText('Back at the application').waitFor();
  });

  it('fits a narrow screen, looks like the other pages, and axe finds nothing', async () => {
    const page = await carrier({}, 320);
    assert.equal((await page.locator('main').boundingBox())!.width <= 320, true);
    assert.equal(await page.getByRole('button', { name: 'Continue' }).isVisible(), true);
    const stylesheet = (await page.locator('link[rel=stylesheet]').getAttribute('href'))!;
    assert.equal((await page.request.get(scene.gatehouse.issuer + stylesheet)).status(), 200);

    // the same page with its form taken out of the script's reach, for axe needs scripts
    const looked = await scene.visit();
    await looked.route('**/authorize?**', async (route) => {
      const answer = await route.fetch({ maxRedirects: 0 });
      const body = (await answer.text()).replace(/<script>.*?<\/script>/s, '');
      await route.fulfill({ response: answer, body, headers: { 'content-type': 'text/html' } });
    });
    await looked.goto(scene.application.authorizationUrl({ ...BY_POST, prompt: 'none' }));
    await looked.getByRole('button', { name: 'Continue' }).waitFor();
    await assertAccessible(looked);
  });

  it('has every value as text, in state and in errors (CVE-2024-21637, GO-2026-4861)', async () => {
    const hostile = `"><script>document.title='owned'</script><img src=x onerror=alert(1)>'&amp;`;
    for (const parameters of [
      { state: hostile },
      { state: hostile, prompt: 'none', scope: 'openid email' },
      { state: hostile, ui_locales: hostile, prompt: hostile },
    ]) {
      const page = await carrier(parameters);
      assert.equal(await page.locator('input[name=state]').inputValue(), hostile);
      assert.equal(await page.locator('img').count(), 0);
      assert.equal(await page.locator('script').count(), 1);
      assert.equal((await page.content()).includes('<img'), false);
    }
  });

  it('runs its own script and none that got in beside it', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const answer = await page.request.get(scene.application.authorizationUrl({ ...BY_POST, prompt: 'none' }));
    const headers = answer.headers();
    assert.match(headers['content-security-policy']!, /script-src 'sha256-[\w+/]{43}='(;|$)/);
    assert.match(headers['content-security-policy']!, /default-src 'none'/);
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(headers['x-frame-options'], 'DENY');
  });

  it('tells the application what went wrong, in the status of an error', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    const answer = await page.goto(scene.application.authorizationUrl({ ...BY_POST, prompt: 'none' }));
    assert.equal(answer!.status(), 400);
    assert.equal(await page.locator('input[name=error]').inputValue(), 'login_required');
  });

  it('may be signed, and comes on the same page', async () => {
    const page = await carrier({ response_mode: 'form_post.jwt' });
    assert.match(await page.locator('input[name=response]').inputValue(), /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
    assert.match(await textOf(page), /^One moment/);
  });
});

describe('an issuer with a path', () => {
  it('keeps posted requests and form_post below it', async (t) => {
    const scene = await setScene({ path: '/tenant/one' });
    t.after(() => scene.stop());
    const body = new URL(scene.application.authorizationUrl(BY_POST)).searchParams;
    const { status, headers } = await fetch(`${scene.gatehouse.issuer}/authorize`, {
      method: 'POST',
      body,
      redirect: 'manual',
    });
    assert.deepEqual([status, headers.get('location')], [303, `/tenant/one/authorize?${body}`]);
    const page = await scene.visit();
    await page.goto(new URL(headers.get('location')!, scene.gatehouse.issuer).href);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByText('Back at the application').waitFor();
  });
});

describe('an authorization request by POST', () => {
  let scene: Scene;
  before(async () => {
    scene = await setScene();
  });
  after(() => scene.stop());

  const post = (body: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
    fetch(`${scene.gatehouse.issuer}/authorize`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html', ...headers },
      body,
      redirect: 'manual',
    });
  const request = (): string => new URL(scene.application.authorizationUrl()).search.slice(1);

  it('finds the person logged in, though the form was on another site', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const fields = Object.fromEntries(new URL(scene.application.authorizationUrl({ prompt: 'none' })).searchParams);
    await page.goto(scene.application.origin);
    const form = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`);
    await page.setContent(
      `<form method="post" action="${scene.gatehouse.issuer}/authorize">${form.join('')}<button>Go</button></form>`,
    );
    await page.getByRole('button', { name: 'Go' }).click();
    await page.waitForURL(`${scene.application.redirectUri}?code=**`);
  });

  it('is sent on to the same request by GET, on this server, with any fields in the form', async () => {
    for (const body of [
      request(),
      `${request()}&redirect_uri=https://evil.example`,
      'x=//evil.example\r\nlocation: y',
    ]) {
      const { status, headers } = await post(body);
      assert.equal(status, 303);
      assert.equal(headers.get('location'), `/authorize?${new URLSearchParams(body)}`);
      assert.equal(headers.get('cache-control'), 'no-store');
    }
  });

  it('keeps what came twice, so that it is refused as by GET', async () => {
    const { headers } = await post(`${request()}&scope=second`);
    const answer = await fetch(new URL(headers.get('location')!, scene.gatehouse.issuer), { redirect: 'manual' });
    assert.match(answer.headers.get('location') ?? '', /error=invalid_request/);
  });

  for (const [what, body, headers] of [
    ['JSON', '{}', { 'content-type': 'application/json' }],
    ['a compressed form', 'x', { 'content-encoding': 'gzip' }],
    ['a form that is too large', `state=${'x'.repeat(9_000)}`, {}],
    ['a form that grows too large for an address', `state=${'é'.repeat(3_000)}`, {}],
  ] as const) {
    it(`is refused as ${what}, with a page for people and JSON for others`, async () => {
      const page = await post(body, headers);
      assert.equal(page.status, 400);
      assert.match(await page.text(), /<h1>This request can’t be completed<\/h1>/);
      const plain = await post(body, { ...headers, accept: 'application/json' });
      assert.deepEqual([plain.status, ((await plain.json()) as { error: string }).error], [400, 'invalid_request']);
    });
  }
});
