import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { ask, openPage, pageOf, poll, registerTill, type Asked } from '../support/client/backchannel.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
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
import { Person } from '../support/person/person.ts';

const OTHER = { email: 'other@example.com', password: 'another long password' };

describe('the page where a person decides about a request', () => {
  let scene: Scene;
  let till: RegisteredClient;
  before(async () => {
    scene = await setScene();
    till = await registerTill(scene.gatehouse, {
      client_uri: 'https://shop.example',
      policy_uri: 'https://shop.example/privacy',
    });
    await scene.gatehouse.adminCall('POST', '/accounts', OTHER);
  });
  after(() => scene.stop());
  afterEach(resetClock);

  it('leads from its address through the login to the decision by keyboard alone', async () => {
    const asked = await ask(scene.gatehouse, till, { scope: 'openid notes:read', binding_message: 'Till 4, 12.50 €' });
    const page = await scene.visit();
    await page.goto(pageOf(scene.gatehouse, asked));
    assert.match(await textOf(page), /^Log in to continue to your account/);
    assert.equal((await textOf(page)).includes('Corner shop'), false, 'who asks is nobody’s business yet');
    assert.equal(await page.getByRole('button', { name: 'Cancel' }).count(), 0);
    await page.locator('#email:focus').waitFor();
    await page.keyboard.type(scene.gatehouse.account.email);
    await page.keyboard.press('Tab');
    await page.keyboard.type(scene.gatehouse.account.password);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Approve the request of Corner shop?' }).waitFor();
    assert.equal(page.url(), pageOf(scene.gatehouse, asked));
    const text = await textOf(page);
    assert.match(text, /It says Till 4, 12\.50 € Approve only if you started this yourself/);
    assert.match(text, /It asks for permission to .* Know who you are .* Read your notes/);
    assert.match(text, /Asked \d+ \w+ \d{4}.* UTC Until .* UTC The application’s address 127\.0\.0\.1/);
    assert.equal(
      (await poll(scene.gatehouse, till, asked)).error,
      'authorization_pending',
      'nothing happens by looking',
    );
    assert.equal(await page.getByRole('link', { name: 'Log out' }).getAttribute('href'), '/logout');
    await press(page, 'Approve');
    await page.getByRole('heading', { name: 'You have approved the request' }).waitFor();
    assert.equal((await poll(scene.gatehouse, till, asked)).scope, 'openid notes:read');
  });

  it('works with JavaScript switched off, and takes a no', async () => {
    const asked = await ask(scene.gatehouse, till);
    const page = await scene.visit({ javaScriptEnabled: false });
    await open(page, asked);
    await page.getByRole('button', { name: 'Deny' }).click();
    assert.match(await textOf(page), /You have denied the request Corner shop gets no access/);
    assert.equal((await poll(scene.gatehouse, till, asked)).error, 'access_denied');
    await page.reload();
    assert.match(await textOf(page), /You have denied the request/);
  });

  it('is found from the account page, which lists what waits and nothing else', async () => {
    const asked = await ask(scene.gatehouse, till, { binding_message: 'Find me' });
    const page = await scene.visit();
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /^You are not logged in/);
    await page.getByRole('link', { name: 'Log in' }).click();
    await logIn(page, scene.gatehouse.account);
    assert.match(await textOf(page), /Waiting for your decision .* Corner shop Find me Until .* About you/);
    await assertAccessible(page);
    await page.getByRole('listitem').filter({ hasText: 'Find me' }).getByRole('link').click();
    assert.equal(page.url(), pageOf(scene.gatehouse, asked));
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.equal((await textOf(page)).includes('Find me'), false);
  });

  it('is there for the person who is meant alone', async () => {
    const asked = await ask(scene.gatehouse, till, { binding_message: 'Not yours' });
    const at = pageOf(scene.gatehouse, asked);
    const other = new Person(scene.gatehouse, { account: OTHER });
    const shown = await openPage(at, other);
    assert.equal(shown.response.status, 404);
    assert.match(shown.page, /There is no such request for you/);
    assert.equal(/Not yours|Corner shop/.test(shown.page), false);
    const owner = new Person(scene.gatehouse);
    const { page } = await openPage(at, owner);
    const stolen = await other.submit(at, { ...fieldsOf(page), decision: 'approve' });
    assert.equal(stolen.response.status, 404);
    const account = await other.open(`${scene.gatehouse.issuer}/account`);
    assert.equal(account.page.includes('Not yours'), false);
    for (const made_up of ['x', 'A'.repeat(43), '%00', 'A'.repeat(5_000), '..%2faccount']) {
      const { status } = await owner.fetch(`${scene.gatehouse.issuer}/approve/${made_up}`);
      assert.equal(status, 404, made_up);
    }
    assert.equal((await poll(scene.gatehouse, till, asked)).error, 'authorization_pending');
  });

  it('asks for the password again before it takes a yes from a login that is a quarter of an hour old', async () => {
    const page = await scene.visit();
    await open(page, await ask(scene.gatehouse, till));
    moveClock(901);
    const asked = await ask(scene.gatehouse, till);
    await page.goto(pageOf(scene.gatehouse, asked));
    assert.match(await textOf(page), /You logged in a while ago\. Before you can approve this, confirm that it’s you/);
    assert.equal(await page.getByRole('button', { name: 'Approve' }).count(), 0);
    await assertAccessible(page);
    const token = await page.locator('input[name=form_token]').inputValue();
    const form = { form_token: token, decision: 'approve' };
    await page.request.post(pageOf(scene.gatehouse, asked), { form, maxRedirects: 0 });
    assert.equal((await poll(scene.gatehouse, till, asked)).error, 'authorization_pending', 'whatever form is sent');

    await page.getByRole('button', { name: 'Confirm that it’s me' }).click();
    assert.match(await textOf(page), /^Confirm that it’s you .*You are logged in as demo@example\.com/);
    await assertAccessible(page);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('heading', { name: 'You have approved the request' }).waitFor();
    assert.equal((await poll(scene.gatehouse, till, asked)).status, 200);
  });

  it('asks for it at once where the application wants a fresh login (max_age=0), and never to say no', async () => {
    const page = await scene.visit();
    await open(page, await ask(scene.gatehouse, till));
    moveClock(2);
    const asked = await ask(scene.gatehouse, till, { max_age: '0' });
    await page.goto(pageOf(scene.gatehouse, asked));
    assert.equal(await page.getByRole('button', { name: 'Approve' }).count(), 0);
    await page.getByRole('button', { name: 'Deny' }).click();
    assert.match(await textOf(page), /You have denied/);
  });

  it('keeps the session’s applications when the password is given again, under another cookie', async () => {
    const page = await scene.visit();
    await signIn(page, scene);
    const cookie = await sessionOf(page);
    moveClock(901);
    const asked = await ask(scene.gatehouse, till);
    await open(page, asked);
    await page.getByRole('button', { name: 'Confirm that it’s me' }).click();
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Approve' }).waitFor();
    assert.notEqual(await sessionOf(page), cookie);
    await page.goto(`${scene.gatehouse.issuer}/account/devices`);
    const here = page.getByRole('listitem').filter({ hasText: 'This device' });
    assert.match(await here.innerText(), /Used for Notes & Co/);
  });

  it('is not there any more for a person who gives another person’s password', async () => {
    const page = await scene.visit();
    await open(page, await ask(scene.gatehouse, till));
    moveClock(901);
    const asked = await ask(scene.gatehouse, till);
    await open(page, asked);
    await page.getByRole('button', { name: 'Confirm that it’s me' }).click();
    await page.getByRole('link', { name: 'Use another account' }).click();
    await logIn(page, OTHER);
    await page.getByText('There is no such request for you').waitFor();
    assert.equal(page.url(), pageOf(scene.gatehouse, asked));
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /other@example\.com/);
  });

  it('changes nothing for a form of another site, of another page, or of another session', async () => {
    const [asked, another] = [await ask(scene.gatehouse, till), await ask(scene.gatehouse, till)];
    const at = pageOf(scene.gatehouse, asked);
    const [person, elsewhere] = [new Person(scene.gatehouse), new Person(scene.gatehouse)];
    const own = fieldsOf((await openPage(at, person)).page)['form_token']!;
    const foreign = fieldsOf((await openPage(at, elsewhere)).page)['form_token']!;
    const ofAnother = fieldsOf((await person.open(pageOf(scene.gatehouse, another))).page)['form_token']!;
    assert.equal(new Set([own, foreign, ofAnother]).size, 3);
    const decision = 'approve';
    const forged: readonly [fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>>][] = [
      [{ decision }, {}],
      [{ form_token: own }, {}],
      [{ form_token: own, decision: 'yes' }, {}],
      [{ form_token: foreign, decision }, {}],
      [{ form_token: ofAnother, decision }, {}],
      [{ form_token: own, decision }, { origin: 'https://evil.example' }],
      [{ form_token: own, decision }, { 'sec-fetch-site': 'cross-site' }],
    ];
    for (const [fields, headers] of forged) {
      const { status } = await person.fetch(at, { method: 'POST', headers, body: new URLSearchParams(fields) });
      assert.ok([400, 403].includes(status), `${status} for ${JSON.stringify(fields)}`);
    }
    assert.equal((await poll(scene.gatehouse, till, asked)).error, 'authorization_pending');
    const { page } = await person.submit(at, { form_token: own, decision });
    assert.match(page, /You have approved/);
  });

  it('decides once: what comes from a second tab changes nothing, and leaves no access behind', async () => {
    const shop = await registerTill(scene.gatehouse);
    const asked = await ask(scene.gatehouse, shop);
    const at = pageOf(scene.gatehouse, asked);
    const person = new Person(scene.gatehouse);
    const fields = fieldsOf((await openPage(at, person)).page);
    await person.submit(at, { ...fields, decision: 'deny' });
    const { page } = await person.submit(at, { ...fields, decision: 'approve' });
    assert.match(page, /You have denied/);
    assert.equal((await poll(scene.gatehouse, shop, asked)).error, 'access_denied');
    const { database } = scene.gatehouse;
    const grants = database.selectFrom('grants').select('grant_id').where('client_id', '=', shop.client_id);
    assert.deepEqual(await grants.execute(), []);
  });

  it('allows what it showed: where the application has lost a scope since then, the person has to decide again', async () => {
    const { demo } = scene.gatehouse;
    const shop = await registerTill(scene.gatehouse);
    const asked = await ask(scene.gatehouse, shop, { scope: 'openid notes:read notes:write' });
    const at = pageOf(scene.gatehouse, asked);
    const person = new Person(scene.gatehouse);
    const fields = fieldsOf((await openPage(at, person)).page);
    const resources = [{ resource: demo.resource, scopes: ['notes:read'] }];
    await scene.gatehouse.adminCall('PATCH', `/clients/${shop.client_id}`, { resources });
    const { response, page } = await person.submit(at, { ...fields, decision: 'approve' });
    assert.equal(response.status, 403);
    assert.match(page, /The page was out of date, so nothing was changed\. Open it again/);
    const again = await openPage(at, person);
    assert.equal(again.page.includes('Read your notes'), true);
    await person.submit(at, { ...fieldsOf(again.page), decision: 'approve' });
    assert.equal((await poll(scene.gatehouse, shop, asked)).scope, 'openid notes:read');
  });

  it('says how long the access lasts (FIELD-V10)', async () => {
    const shop = await registerTill(scene.gatehouse, { grant_types: [CIBA, 'refresh_token'] });
    const person = new Person(scene.gatehouse);
    const textFor = async (client: RegisteredClient): Promise<string> =>
      (await openPage(pageOf(scene.gatehouse, await ask(scene.gatehouse, client)), person)).page;
    assert.match(
      await textFor(shop),
      /The access lasts until you take it back, for 90 days at most, and ends when it is unused for 14 days\./,
    );
    assert.match(await textFor(till), /The access lasts for 10 minutes at most\./);
  });

  it('is gone with its application', async () => {
    const shop = await registerTill(scene.gatehouse, { client_name: 'Bankrupt' });
    const at = pageOf(scene.gatehouse, await ask(scene.gatehouse, shop));
    const person = new Person(scene.gatehouse);
    const fields = fieldsOf((await openPage(at, person)).page);
    await scene.gatehouse.adminCall('POST', `/clients/${shop.client_id}/revoke`, { reason: 'A test' });
    assert.equal((await person.submit(at, { ...fields, decision: 'approve' })).response.status, 404);
    assert.equal((await person.open(`${scene.gatehouse.issuer}/account`)).page.includes('Bankrupt'), false);
  });

  it('takes a hostile application and message for text', async () => {
    const hostile = '"><script>document.title="owned"</script>';
    const shop = await registerTill(scene.gatehouse, { client_name: hostile });
    const asked = await ask(scene.gatehouse, shop, { binding_message: hostile });
    const page = await scene.visit();
    await open(page, asked);
    assert.equal(await page.locator('.message').innerText(), hostile);
    assert.equal(await page.locator('main script').count(), 0);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.equal(await page.locator('main script').count(), 0);
  });

  it('has nothing that axe objects to, in light and in dark', async () => {
    const page = await scene.visit();
    const asked = await ask(scene.gatehouse, till, { scope: 'openid notes:read', binding_message: 'Till 4, 12.50 €' });
    await page.goto(pageOf(scene.gatehouse, asked));
    await assertAccessible(page);
    await logIn(page, scene.gatehouse.account);
    await page.getByRole('button', { name: 'Approve' }).waitFor();
    await assertAccessible(page);
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('heading', { name: 'You have approved the request' }).waitFor();
    await assertAccessible(page);
    const late = await ask(scene.gatehouse, till, { requested_expiry: '1' });
    moveClock(20);
    await page.goto(pageOf(scene.gatehouse, late));
    assert.match(await textOf(page), /This request can’t be decided any more/);
    await assertAccessible(page);
  });

  it('fits a screen of 320 pixels with targets that a finger can hit', async () => {
    const shop = await registerTill(scene.gatehouse, { client_name: `Very ${'long '.repeat(20)}name` });
    const asked = await ask(scene.gatehouse, shop, { scope: 'openid notes:read', binding_message: 'W'.repeat(100) });
    const page = await scene.visit({ viewport: { width: 320, height: 568 } });
    await open(page, asked);
    await assertFits(page);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    await assertFits(page);
  });

  /** Logs in on the way, where that is asked. */
  async function open(page: Page, asked: Asked): Promise<void> {
    await page.goto(pageOf(scene.gatehouse, asked));
    if (await page.getByLabel('Password').isVisible()) await logIn(page, scene.gatehouse.account);
    await page.getByRole('heading', { name: /^Approve the request of/ }).waitFor();
  }
});

async function sessionOf(page: Page): Promise<string | undefined> {
  const cookies = await page.context().cookies();
  return cookies.find(({ name }) => name === 'gatehouse_session')?.value;
}
