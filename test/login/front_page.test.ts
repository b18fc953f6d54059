import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, TEST_MASTER_KEY, type OwnGatehouse } from '../support/node/gatehouse.ts';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { assertAccessible, assertFits, logIn, press, setScene, type Scene } from '../support/person/pages.ts';
import { Processes, type Server } from '../support/node/process.ts';

describe('the front page in development', () => {
  let scene: Scene;
  before(async () => {
    // below a path, where every link has to be
    scene = await setScene({ path: '/id' });
  });
  after(() => scene.stop());

  it('says what this is and leads to account, device, discovery and documentation (FIELD-F7)', async () => {
    const page = await scene.visit();
    for (const address of [scene.gatehouse.issuer, `${scene.gatehouse.issuer}/`]) {
      assert.equal((await page.goto(address))?.status(), 200);
      await page.getByText('logs people in to applications').waitFor();
    }
    for (const [link, path, type] of [
      ['Your account', '/account', 'text/html'],
      ['Connect a device', '/device', 'text/html'],
      ['Discovery', '/.well-known/openid-configuration', 'application/json'],
      ['Documentation of the admin API', '/admin/v1/openapi.json', 'application/json'],
    ] as const) {
      const href = await page.getByRole('link', { name: link }).evaluate((anchor) => (anchor as unknown as URL).href);
      assert.equal(href, scene.gatehouse.issuer + path);
      const response = await fetch(href);
      await response.body?.cancel();
      assert.equal(response.status, 200, path);
      assert.ok(response.headers.get('content-type')?.startsWith(type), path);
    }
  });

  it('leads through a login of the demo client and shows what came back, by keyboard and without script (FIELD-F7)', async () => {
    const page = await scene.visit({ javaScriptEnabled: false });
    await page.goto(scene.gatehouse.issuer);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByLabel('Password').waitFor();
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Allow', exact: true }).click();
    await page.getByRole('heading', { name: 'The login worked' }).waitFor();
    const text = await page.locator('main').innerText();
    assert.match(text, /email\s+demo@example\.com/);
    assert.match(text, /notes:read/);
    // neither the code nor a token is on the page, and the code works once
    assert.doesNotMatch(text, /eyJ/);
    const again = await page.reload();
    assert.equal(again?.status(), 400);
    await page.getByText('This browser has not begun this login').waitFor();
  });

  it('shows why a login ended that the person broke off (FIELD-F7)', async () => {
    const page = await scene.visit();
    await page.goto(scene.gatehouse.issuer);
    await page.getByRole('link', { name: 'Try the login' }).click();
    await page.getByRole('button', { name: 'Cancel and go back' }).click();
    await page.getByRole('heading', { name: 'The login was not completed' }).waitFor();
    assert.match(await page.locator('main').innerText(), /access_denied/);
  });

  it('takes an answer only from this server and for this browser (FIELD-F7)', async () => {
    const { issuer } = scene.gatehouse;
    const begun = await fetch(`${issuer}/try-login`, { redirect: 'manual' });
    const [cookie = ''] = begun.headers.getSetCookie().map((set) => set.split(';')[0]!);
    const cookies = begun.headers
      .getSetCookie()
      .map((set) => set.split(';')[0]!)
      .join('; ');
    const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state') ?? '';
    const asked = async (query: Record<string, string>, sent = cookies): Promise<number> => {
      const response = await fetch(`${issuer}/try-login/callback?${new URLSearchParams(query)}`, {
        headers: { cookie: sent },
      });
      await response.body?.cancel();
      return response.status;
    };
    const answer = { state, iss: issuer, code: 'a-code' };
    assert.equal(await asked(answer, ''), 400);
    assert.equal(await asked(answer, cookie), 400, 'without its signature');
    assert.equal(await asked({ ...answer, state: 'another' }), 400);
    assert.equal(await asked({ ...answer, iss: 'https://other.example' }), 400);
    assert.equal(await asked(answer), 502, 'the code is wrong, the rest is right');
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`is accessible, on a phone too, in ${colorScheme} (FIELD-F7)`, async () => {
      const page = await scene.visit({ colorScheme, viewport: { width: 320, height: 640 } });
      await page.goto(scene.gatehouse.issuer);
      await assertAccessible(page);
      await assertFits(page);
      await press(page, 'Try the login');
      await logIn(page, scene.gatehouse.account);
      const allow = page.getByRole('button', { name: 'Allow', exact: true });
      const heading = page.getByRole('heading', { name: 'The login worked' });
      await allow.or(heading).waitFor();
      if (await allow.isVisible()) await allow.click();
      await heading.waitFor();
      await assertAccessible(page);
      await assertFits(page);
    });
  }
});

describe('the front page in production', () => {
  const processes = new Processes();
  let database: TestDatabase;
  let server: Server;
  before(async () => {
    database = await emptyDatabase();
    server = await processes.start({
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
    });
  });
  after(async () => {
    await processes.end();
    await database.drop();
  });

  it('repeats nothing of a refused request, and tells nothing that is registered', async () => {
    const query = new URLSearchParams({ client_id: 'no-such-client', redirect_uri: 'https://evil.example/cb' });
    const response = await fetch(`${server.url}/authorize?${query}`, { headers: { accept: 'text/html' } });
    const html = await response.text();
    assert.equal(response.status, 400);
    assert.match(html, /This application is not known here/);
    for (const told of [/no-such-client/, /evil\.example/, /For developers/]) assert.doesNotMatch(html, told);
  });

  it('shows no version, no person and no login to try (FIELD-F7)', async () => {
    const response = await fetch(`${server.url}/`);
    const html = await response.text();
    assert.equal(response.status, 200);
    assert.match(html, /href="\/account"/);
    for (const told of [/gatehouse/i, /0\.1\.0/, /@/, /try-login/i, /bootstrap/]) assert.doesNotMatch(html, told);
    assert.deepEqual([response.headers.get('server'), response.headers.get('x-powered-by')], [null, null]);
    for (const path of ['/try-login', '/try-login/callback?state=s&code=c']) {
      const tried = await fetch(server.url + path, { redirect: 'manual' });
      await tried.body?.cancel();
      assert.equal(tried.status, 404, path);
    }
  });
});

describe('a page at another loopback address than the issuer', () => {
  let gatehouse: OwnGatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  /** As a browser that has the name in its address bar. */
  function ask(method: string, path: string, host: string): Promise<{ status: number; location: string | undefined }> {
    const { port } = new URL(gatehouse.issuer);
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port, method, path, headers: { host: `${host}:${port}` } };
      request(options, (response) => {
        response.resume();
        resolve({ status: response.statusCode ?? 0, location: response.headers.location });
      })
        .on('error', reject)
        .end();
    });
  }

  it('is redirected to the issuer, and an API answers where it is asked (FIELD-F7)', async () => {
    for (const host of ['localhost', '[::1]', '127.0.0.2']) {
      for (const path of ['/', '/account?done=session', '/device', '/authorize?client_id=a']) {
        assert.deepEqual(await ask('GET', path, host), { status: 302, location: gatehouse.issuer + path });
      }
      for (const path of ['/jwks', '/.well-known/openid-configuration']) {
        assert.deepEqual(await ask('GET', path, host), { status: 200, location: undefined });
      }
      assert.equal((await ask('POST', '/token', host)).status, 400);
      assert.equal((await ask('POST', '/device', host)).location, undefined);
    }
    assert.equal((await ask('GET', '/', '127.0.0.1')).status, 200);
    assert.equal((await ask('GET', '/', 'evil.example')).status, 200, 'no other host is sent anywhere');
  });
});
