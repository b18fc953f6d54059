import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { eventually } from '../support/node/operator.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { LoginForm } from '../support/person/login_form.ts';
import { assertAccessible, assertFits, logIn, setScene, textOf, type Scene } from '../support/person/pages.ts';
import { Person } from '../support/person/person.ts';

const OLD = 'an old password of many words';
const NEW = 'a new password of several words';
const RESET = /A new password/;

describe('a forgotten password', () => {
  let mailServer: MailServer;
  let scene: Scene;
  let admin: Admin;
  let email: string;
  let accountId: string;
  let count = 0;
  before(async () => {
    mailServer = await startMailServer();
    scene = await setScene({
      environment: {
        GATEHOUSE_SMTP_URL: mailServer.url,
        GATEHOUSE_MAIL_FROM: 'Gatehouse <id@example.com>',
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      },
    });
    admin = await Admin.of(scene.gatehouse);
  });
  after(async () => {
    await scene.stop();
    await mailServer.stop();
  });
  afterEach(resetClock);
  beforeEach(async () => {
    mailServer.mails.length = 0;
    email = `forgetful${count++}@example.com`;
    accountId = (await admin.post('/accounts', { email, password: OLD })).body.account_id;
  });

  it('is replaced by a link that a person asks for on the login page', async () => {
    const page = await scene.visit();
    await page.goto(scene.application.authorizationUrl());
    await page.getByRole('link', { name: 'Forgot password?' }).click();
    await assertAccessible(page);
    await page.getByLabel('E-mail address').fill(email.toUpperCase());
    await page.getByRole('button', { name: 'Send the link' }).click();
    assert.match(await textOf(page), /^Look into your mailbox/);
    await assertAccessible(page);
    const mail = await mailServer.next(email, RESET);
    await page.goto(mail.links[0]!);
    assert.equal(new URL(page.url()).pathname, '/link', 'the address has no value');
    assert.match(await textOf(page), /^Choose a new password/);
    await assertAccessible(page);
    await page.getByLabel('New password').fill('too short');
    await page.getByRole('button', { name: 'Set password' }).click();
    assert.match(await textOf(page), /must have at least 15 characters/);
    await assertAccessible(page);
    await page.getByLabel('New password').fill(NEW);
    await page.getByRole('button', { name: 'Set password' }).click();
    assert.match(await textOf(page), /^Your password is set/);
    await page.goto(`${scene.gatehouse.issuer}/account`);
    assert.match(await textOf(page), /^You are not logged in/, 'the link does not log in');
    await page.getByRole('link', { name: 'Log in' }).click();
    await logIn(page, { email, password: NEW });
    await page.getByRole('heading', { name: 'Profile' }).waitFor();
    await page.setViewportSize({ width: 320, height: 640 });
    await page.goto(`${scene.gatehouse.issuer}/forgot-password`);
    await assertFits(page);
  });

  it('ends all sessions and grants when it is replaced, and proves the address', async () => {
    const account = { email, password: OLD };
    const person = new Person(scene.gatehouse, { account, address: freshAddress() });
    const url = scene.application.authorizationUrl({ scope: 'openid offline_access', prompt: 'consent' });
    const { body } = await scene.application.redeem((await person.authorize(url)).href);
    await ask(email);
    const mail = await mailServer.next(email, RESET);
    await new LinkVisitor(scene.gatehouse).setPassword(mail.links[0]!, NEW);
    assert.match((await person.open(`${scene.gatehouse.issuer}/account`)).page, /You are not logged in/);
    const refreshed = await fetch(`${scene.gatehouse.issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: String(body['refresh_token']),
        client_id: scene.application.clientId,
      }),
    });
    assert.equal(refreshed.status, 400);
    assert.equal((await admin.get(`/accounts/${accountId}`)).body['email_verified'], true);
    assert.deepEqual([await logInWith(OLD), await logInWith(NEW)], [401, 303]);
  });

  it('gets the same answer for an address without an account, for a disabled one, and for one without a password', async () => {
    const invited = `invited.${email}`;
    await admin.post('/accounts', { email: invited });
    await admin.post(`/accounts/${accountId}/disable`);
    const known = `known.${email}`;
    await admin.post('/accounts', { email: known, password: OLD });
    const answers = [];
    for (const address of [known, email, invited, `nobody.${email}`]) answers.push(await ask(address));
    assert.equal(new Set(answers.map((answer) => JSON.stringify(answer))).size, 1, JSON.stringify(answers));
    assert.deepEqual([answers[0]!.status, answers[0]!.location], [303, '/forgot-password/sent']);
    await mailServer.next(known, RESET);
    await settled();
    assert.deepEqual(mailsHere(), []);
  });

  it('sends three mails in an hour at most, and each of the three links works', async () => {
    for (let request = 0; request < 6; request++) await ask(email);
    await settled();
    assert.equal(mailsHere().length, 3);
    const links = mailsHere().map((mail) => mail.links[0]!);
    assert.equal(new Set(links).size, 3);
    for (const link of links) assert.equal((await new LinkVisitor(scene.gatehouse).open(link)).response.status, 200);
    assert.ok((await eventsOf('account.mail_throttled')) >= 1);
    // the owner uses the oldest one, and the others end with it
    assert.match(wordsOf(await new LinkVisitor(scene.gatehouse).setPassword(links[0]!, NEW)), /Your password is set/);
    for (const link of links) assert.equal((await new LinkVisitor(scene.gatehouse).open(link)).response.status, 404);
    mailServer.mails.length = 0;
    await ask(email);
    await mailServer.next(email, RESET);
  });

  it('is limited for a network, in the same way for each address', async () => {
    const network = freshAddress();
    for (let request = 0; request < 20; request++)
      assert.equal((await ask(`nobody${request}.${email}`, network)).status, 303);
    const refused = await ask(email, network);
    assert.deepEqual([refused.status, (await ask(`nobody.${email}`, network)).status], [429, 429]);
    assert.ok(Number(refused.retryAfter) > 0);
    assert.equal((await ask(email)).status, 303, 'other networks may ask');
  });

  it('is refused for what is no address, and from another site', async () => {
    for (const typed of [
      '',
      'a',
      'a@b',
      `${'x'.repeat(250)}@example.com`,
      'a\u0000@example.com',
      'a@example.com\r\nBcc: x@x.org',
    ])
      assert.equal((await ask(typed)).status, 400, JSON.stringify(typed));
    const foreign = await fetch(`${scene.gatehouse.issuer}/forgot-password`, {
      method: 'POST',
      headers: { origin: 'https://evil.example' },
      body: new URLSearchParams({ email }),
      redirect: 'manual',
    });
    assert.equal(foreign.status, 403);
    await settled();
    assert.deepEqual(mailsHere(), []);
  });

  it('leaves no value of a link and no address in the log', async () => {
    await ask(email);
    const mail = await mailServer.next(email, RESET);
    const value = mail.links[0]!.slice(-43);
    const visitor = new LinkVisitor(scene.gatehouse);
    await visitor.open(mail.links[0]!);
    await fetch(mail.links[0]!, { method: 'POST', body: 'x' });
    await fetch(mail.links[0]!, { method: 'PUT', headers: { accept: 'text/html' } });
    await fetch(`${mail.links[0]!}/more`, { headers: { accept: 'text/html' } });
    await visitor.setPassword(mail.links[0]!, NEW);
    await settled();
    for (const secret of [value, NEW, email])
      assert.ok(!scene.gatehouse.log.some((line) => line.includes(secret)), `${secret} is in the log`);
    const metrics = await (await fetch(`${scene.gatehouse.managementUrl}/metrics`)).text();
    assert.ok(!metrics.includes(value));
    assert.match(metrics, /route="\/link"/);
  });

  it('is not offered where the server sends no mails', async () => {
    const other = await setScene();
    try {
      const page = await other.visit();
      await page.goto(other.application.authorizationUrl());
      assert.equal(await page.getByRole('link', { name: 'Forgot password?' }).count(), 0);
      assert.equal((await page.goto(`${other.gatehouse.issuer}/forgot-password`))!.status(), 404);
      assert.equal((await page.goto(`${other.gatehouse.issuer}/mails`))!.status(), 404);
    } finally {
      await other.stop();
    }
  });

  describe('link', () => {
    it('uses up nothing when it is opened, sets a cookie, and redirects to an address without it', async () => {
      await ask(email);
      const { links } = await mailServer.next(email, RESET);
      for (const method of ['HEAD', 'GET', 'GET']) {
        const answer = await fetch(links[0]!, { method, redirect: 'manual' });
        assert.deepEqual([answer.status, answer.headers.get('location')], [303, '/link']);
        assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
        assert.equal(answer.headers.get('cache-control'), 'no-store');
        const cookie = answer.headers.getSetCookie().find((one) => one.startsWith('gatehouse_link='));
        assert.match(cookie ?? '', /path=\/link; .*samesite=lax; httponly/i);
      }
      assert.equal((await new LinkVisitor(scene.gatehouse).open(links[0]!)).response.status, 200);
    });

    it('gets the same redirect for a value that no link has, or that is none', async () => {
      for (const value of ['x'.repeat(43), 'short', '%00', 'x'.repeat(3_000)]) {
        const answer = await fetch(`${scene.gatehouse.issuer}/link/${value}`, { redirect: 'manual' });
        assert.deepEqual([answer.status, answer.headers.get('location')], [303, '/link'], value);
      }
      const arrival = await new LinkVisitor(scene.gatehouse).open(`${scene.gatehouse.issuer}/link/${'x'.repeat(43)}`);
      assert.deepEqual([arrival.response.status, wordsOf(arrival).slice(0, 23)], [404, 'This link can’t be used']);
    });

    it('is used by the form of its own page alone', async () => {
      await ask(email);
      const { links } = await mailServer.next(email, RESET);
      const visitor = new LinkVisitor(scene.gatehouse);
      const page = await visitor.open(links[0]!);
      for (const page_ of [{ page: '' }, { page: 'name="form_token" value="x"' }]) {
        const sent = await visitor.send(page_, { new_password: NEW });
        assert.ok([400, 403].includes(sent.response.status));
      }
      const without = await new LinkVisitor(scene.gatehouse).send(page, { new_password: NEW });
      assert.equal(without.response.status, 404, 'without the cookie there is no link');
      const foreign = await visitor.person.fetch(`${scene.gatehouse.issuer}/link`, {
        method: 'POST',
        headers: { 'sec-fetch-site': 'cross-site' },
        body: new URLSearchParams({ new_password: NEW }),
      });
      assert.equal(foreign.status, 403);
      assert.equal(await logInWith(OLD), 303);
      assert.match(wordsOf(await visitor.send(page, { new_password: NEW })), /Your password is set/);
    });

    it('is not used by a page that was opened for another link', async () => {
      await ask(email);
      await ask(email);
      const links = [await mailServer.next(email, RESET), await mailServer.next(email, RESET)].map(
        (mail) => mail.links[0]!,
      );
      const visitor = new LinkVisitor(scene.gatehouse);
      const first = await visitor.open(links[0]!);
      const second = await visitor.open(links[1]!);
      const sent = await visitor.send(first, { new_password: NEW });
      assert.deepEqual([sent.response.status, /out of date/.test(sent.page)], [403, true]);
      assert.match(wordsOf(await visitor.send(second, { new_password: NEW })), /Your password is set/);
    });

    it('is used once, and expires after an hour', async () => {
      await ask(email);
      const { links } = await mailServer.next(email, RESET);
      const [first, second] = [new LinkVisitor(scene.gatehouse), new LinkVisitor(scene.gatehouse)];
      const [one, other] = [await first.open(links[0]!), await second.open(links[0]!)];
      assert.match(wordsOf(await first.send(one, { new_password: NEW })), /Your password is set/);
      assert.equal((await second.send(other, { new_password: `${NEW}!` })).response.status, 404);
      await ask(email);
      const { links: later } = await mailServer.next(email, RESET);
      moveClock(3_590);
      assert.equal((await new LinkVisitor(scene.gatehouse).open(later[0]!)).response.status, 200);
      moveClock(20);
      assert.equal((await new LinkVisitor(scene.gatehouse).open(later[0]!)).response.status, 404);
    });

    it('does not work for an account that was moved to another address or disabled since', async () => {
      await ask(email);
      const { links } = await mailServer.next(email, RESET);
      const visitor = new LinkVisitor(scene.gatehouse);
      const page = await visitor.open(links[0]!);
      await admin.patch(`/accounts/${accountId}`, { email: `moved.${email}` });
      assert.equal((await visitor.send(page, { new_password: NEW })).response.status, 404);
      assert.equal((await new LinkVisitor(scene.gatehouse).open(links[0]!)).response.status, 404);
    });
  });

  let networks = 0;
  function freshAddress(): string {
    networks++;
    return `198.51.${Math.floor(networks / 200)}.${1 + (networks % 200)}`;
  }

  async function ask(address: string, network = freshAddress()) {
    const answer = await fetch(`${scene.gatehouse.issuer}/forgot-password`, {
      method: 'POST',
      headers: { 'x-forwarded-for': network },
      body: new URLSearchParams({ email: address }),
      redirect: 'manual',
    });
    const { status, headers } = answer;
    const body = await answer.text();
    return { status, location: headers.get('location'), retryAfter: headers.get('retry-after'), body };
  }

  /** The mails of this test; those of an earlier one may still arrive. */
  function mailsHere() {
    return mailServer.mails.filter(({ to }) => to.endsWith(email));
  }

  /** Waits until the outbox has nothing left to do. */
  async function settled(): Promise<void> {
    await eventually(async () => {
      const rows = await scene.gatehouse.database
        .selectFrom('outbox')
        .select('message_id')
        .where('failed_at', 'is', null)
        .execute();
      return rows.length === 0;
    }, 15_000);
  }

  async function logInWith(password: string): Promise<number> {
    const form = await LoginForm.open(scene.gatehouse, freshAddress());
    return (await form.post(scene.gatehouse, { email, password })).status;
  }

  async function eventsOf(event: string): Promise<number> {
    const rows = await scene.gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('event', '=', event)
      .where('account_id', '=', accountId)
      .execute();
    return rows.length;
  }
});
