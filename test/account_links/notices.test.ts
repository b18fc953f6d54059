import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { registerPublicApplication, signIn } from '../support/client/code_flow.ts';
import { addTo, makeRole } from '../support/client/roles.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { LoginForm } from '../support/person/login_form.ts';
import { Person } from '../support/person/person.ts';

const OLD = 'an old password of many words';
const NEW = 'a new password of several words';
const CHANGED = /Your password .* was changed/;
const MOVED = /Your e-mail address .* was changed/;
const RESET = /A new password/;
const PROOF = /Confirm your e-mail address/;

describe('people are told of changes', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let admin: Admin;
  let email: string;
  let accountId: string;
  let count = 0;
  before(async () => {
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_SMTP_URL: mailServer.url, GATEHOUSE_MAIL_FROM: 'id@example.com' },
    });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
  });
  afterEach(resetClock);
  beforeEach(async () => {
    mailServer.mails.length = 0;
    email = `told${count++}@example.com`;
    accountId = (await admin.post('/accounts', { email, password: OLD })).body.account_id;
  });

  it('of their password by their own hand: when, from which address, and nothing secret', async () => {
    await changePassword(await logIn(OLD), NEW);
    const mail = await mailServer.next(email, CHANGED);
    assert.match(mail.text, /was changed on \d+ \w+ \d{4} at \d\d:\d\d UTC from the IP address 127\.0\.0\.1/);
    assert.match(mail.source, /Content-Type: text\/plain[\s\S]*Content-Type: text\/html/);
    assert.match(mail.source, /^Auto-Submitted: auto-generated/m);
    assert.equal(mail.links.length, 1);
    for (const secret of [OLD, NEW]) assert.ok(!mail.text.includes(secret));
  });

  it('of their password by an admin', async () => {
    await admin.patch(`/accounts/${accountId}`, { password: NEW });
    assert.match((await mailServer.next(email, CHANGED)).text, /was changed on .* by an administrator/);
  });

  it('by an admin who is a person, without the address of that person', async () => {
    const boss = `boss.${email}`;
    const { body } = await admin.post('/accounts', { email: boss, password: OLD });
    const scopes = ['accounts:read', 'accounts:write'];
    await addTo(admin, await makeRole(admin, gatehouse.admin.resource, ...scopes), body.account_id);
    const console_ = await registerPublicApplication(gatehouse, {
      resources: [{ resource: gatehouse.admin.resource, scopes }],
    });
    const { tokens } = await signIn(gatehouse, console_, {
      scope: scopes.join(' '),
      parameters: { resource: gatehouse.admin.resource },
      person: new Person(gatehouse, { account: { email: boss, password: OLD } }),
    });
    const mine = new Admin(gatehouse, tokens.access_token);
    assert.equal((await mine.patch(`/accounts/${accountId}`, { password: NEW })).status, 200);
    const { text } = await mailServer.next(email, CHANGED);
    assert.match(text, /was changed on .* by an administrator/);
    assert.doesNotMatch(text, /IP address/);
    // but the admin is told of a change of their own account as every other person is
    assert.equal((await mine.patch(`/accounts/${body.account_id}`, { password: NEW })).status, 200);
    assert.match((await mailServer.next(boss, CHANGED)).text, /from the IP address 127\.0\.0\.1/);
    const owner = await logIn(NEW);
    const { page } = await owner.open(`${gatehouse.issuer}/account/activity`);
    const [, ofChange = ''] = /Your password was changed([\s\S]*?)<\/li>/.exec(page) ?? assert.fail(page);
    assert.match(ofChange, /by an administrator/);
    assert.doesNotMatch(ofChange, /127\.0\.0\.1/);
  });

  it('and report a password that was not theirs: all ends, the password too, and a reset begins', async () => {
    const attacker = await logIn(OLD);
    await changePassword(attacker, NEW);
    const { links } = await mailServer.next(email, CHANGED);
    const visitor = new LinkVisitor(gatehouse);
    const page = await visitor.open(links[0]!);
    assert.match(wordsOf(page), /^This wasn’t you\?/);
    assert.match(await accountPageOf(attacker), /Your account/, 'opening the link does nothing');
    assert.match(wordsOf(await visitor.send(page)), /^Your account is safe/);
    assert.match(await accountPageOf(attacker), /You are not logged in/);
    assert.deepEqual([await logInStatus(OLD), await logInStatus(NEW)], [401, 401]);
    assert.equal((await admin.get(`/accounts/${accountId}`)).body['has_password'], false);
    const reset = await mailServer.next(email, RESET);
    const owner = new LinkVisitor(gatehouse);
    assert.match(wordsOf(await owner.setPassword(reset.links[0]!, 'the owner has it again')), /Your password is set/);
    assert.equal(await logInStatus('the owner has it again'), 303);
    const events = (await admin.get(`/audit-events?account_id=${accountId}`)).body.items.map((item) => item['event']);
    for (const event of ['account.change_reported', 'account.password_removed'])
      assert.ok(events.includes(event), event);
    assert.equal((await visitor.open(links[0]!)).response.status, 404, 'a report is made once');
  });

  it('and choose another password for seven days after a report, also with a mail that they ask for again', async () => {
    await changePassword(await logIn(OLD), NEW);
    const { links } = await mailServer.next(email, CHANGED);
    const visitor = new LinkVisitor(gatehouse);
    await visitor.send(await visitor.open(links[0]!));
    const reset = await mailServer.next(email, RESET);
    assert.match(reset.text, /used to report or take back a change/);
    mailServer.mails.length = 0;
    moveClock(6.9 * 86_400);
    await forgetPassword();
    const again = await mailServer.next(email, RESET);
    assert.match(again.text, /Somebody asked for a new password/);
    assert.match(wordsOf(await new LinkVisitor(gatehouse).open(again.links[0]!)), /^Choose a new password/);
    const done = await new LinkVisitor(gatehouse).setPassword(reset.links[0]!, 'the owner has it again');
    assert.match(wordsOf(done), /Your password is set/);
  });

  it('and ask for no password any more when the reset after a report has expired', async () => {
    await changePassword(await logIn(OLD), NEW);
    const { links } = await mailServer.next(email, CHANGED);
    const visitor = new LinkVisitor(gatehouse);
    await visitor.send(await visitor.open(links[0]!));
    await mailServer.next(email, RESET);
    mailServer.mails.length = 0;
    moveClock(7 * 86_400 + 1);
    await forgetPassword();
    await eventually(async () => {
      const waiting = await gatehouse.database.selectFrom('outbox').select('kind').execute();
      return !waiting.some(({ kind }) => kind === 'password_reset_request');
    });
    assert.ok(!mailServer.mails.some(({ to }) => to === email));
  });

  it('of another address, which ends their other sessions and gives this one another id', async () => {
    const [elsewhere, person] = [await logIn(OLD), await logIn(OLD)];
    const earlier = await sessionIds();
    assert.equal(earlier.length, 2);
    await moveTo(person, `moved.${email}`);
    assert.match(await accountPageOf(elsewhere), /You are not logged in/);
    assert.match(await accountPageOf(person), /Your account/);
    const left = await sessionIds();
    assert.equal(left.length, 1);
    assert.ok(!earlier.includes(left[0]!), 'a copy of the cookie is worth nothing');
  });

  it('of another address, at the old one, when the new one is proved', async () => {
    const person = await logIn(OLD);
    const other = `moved.${email}`;
    assert.match(await askForEmail(person, other.toUpperCase()), /A mail with a link is on its way/);
    const { links } = await mailServer.next(other, PROOF);
    assert.equal(await emailOf(), email, 'nothing is changed by the mail');
    const visitor = new LinkVisitor(gatehouse, person);
    const page = await visitor.open(links[0]!);
    assert.match(wordsOf(page), /^Use this e-mail address\?/);
    assert.match(wordsOf(await visitor.send(page)), /Your account has the new e-mail address/);
    const { body } = await admin.get(`/accounts/${accountId}`);
    assert.deepEqual([body['email'], body['email_verified']], [other, true]);
    const mail = await mailServer.next(email, MOVED);
    assert.match(mail.text, /from the IP address 127\.0\.0\.1/);
    assert.ok(!mail.text.includes(other), 'the old address does not learn the new one');
  });

  it('and take a change of the address back for 7 days, which ends all access', async () => {
    const attacker = await logIn(OLD);
    const other = `attacker.${email}`;
    await moveTo(attacker, other);
    const { links } = await mailServer.next(email, MOVED);
    const owner = new LinkVisitor(gatehouse);
    const page = await owner.open(links[0]!);
    assert.match(wordsOf(page), /^Take back the change of the e-mail address\?/);
    assert.match(wordsOf(await owner.send(page)), /^The change was taken back/);
    assert.equal(await emailOf(), email);
    assert.match(await accountPageOf(attacker), /You are not logged in/);
    assert.equal(await logInStatus(OLD), 401);
    const reset = await mailServer.next(email, RESET);
    await new LinkVisitor(gatehouse).setPassword(reset.links[0]!, NEW);
    assert.equal(await logInStatus(NEW), 303);
  });

  it('and keep their way back, whatever an attacker does with later links', async () => {
    const attacker = await logIn(OLD);
    const [second, third] = [`second.${email}`, `third.${email}`];
    await moveTo(attacker, second);
    const ownersWayBack = (await mailServer.next(email, MOVED)).links[0]!;
    await moveTo(attacker, third);
    const attackersWayBack = (await mailServer.next(second, MOVED)).links[0]!;
    // the attacker uses a later way back, and sets a password by the reset that follows
    const visitor = new LinkVisitor(gatehouse);
    await visitor.send(await visitor.open(attackersWayBack));
    const reset = await mailServer.next(second, RESET);
    await new LinkVisitor(gatehouse).setPassword(reset.links[0]!, NEW);
    assert.equal(await emailOf(), second);
    const owner = new LinkVisitor(gatehouse);
    assert.match(wordsOf(await owner.send(await owner.open(ownersWayBack))), /^The change was taken back/);
    assert.equal(await emailOf(), email);
    assert.equal(await logInStatus(NEW, email), 401);
    assert.equal((await new LinkVisitor(gatehouse).open(attackersWayBack)).response.status, 404);
  });

  it('and send no reset to an address that an attacker has put in place of theirs', async () => {
    const attacker = await logIn(OLD);
    await changePassword(attacker, NEW);
    const { links } = await mailServer.next(email, CHANGED);
    const other = `attacker.${email}`;
    await moveTo(attacker, other);
    const visitor = new LinkVisitor(gatehouse);
    const done = await visitor.send(await visitor.open(links[0]!));
    assert.match(wordsOf(done), /your account has another e-mail address by now/);
    assert.equal(await logInStatus(NEW, other), 401);
    assert.ok(!mailServer.mails.some((mail) => mail.to === other && RESET.test(mail.subject)));
    await mailServer.next(email, MOVED);
  });

  it('of an address that an admin changed, without a way back, and all links end', async () => {
    await admin.post(`/accounts/${accountId}/links`, { kind: 'reset' });
    const { links } = await mailServer.next(email, RESET);
    await admin.patch(`/accounts/${accountId}`, { email: `admin.${email}` });
    const mail = await mailServer.next(email, MOVED);
    assert.match(mail.text, /by an administrator/);
    assert.deepEqual(mail.links, []);
    assert.equal((await new LinkVisitor(gatehouse).open(links[0]!)).response.status, 404);
    assert.deepEqual((await admin.get(`/accounts/${accountId}/links`)).body.items, []);
  });

  it('of nothing if the change was not committed', async () => {
    await admin.patch(`/accounts/${accountId}`, { password: NEW }, { 'if-match': '"999"' });
    await admin.patch(`/accounts/${accountId}`, { password: 'short' });
    const waiting = await gatehouse.database.selectFrom('outbox').selectAll().execute();
    assert.ok(!waiting.some(({ client_id }) => client_id === accountId));
  });

  describe('a new address', () => {
    it('is asked for in a login of the last ten minutes alone, whatever form is sent', async () => {
      const person = await logIn(OLD);
      const url = `${gatehouse.issuer}/account/email`;
      const { page } = await person.open(url);
      const [, form_token = ''] = /name="form_token" value="([^"]+)"/.exec(page) ?? [];
      moveClock(601);
      assert.match((await person.open(url)).url, /\/interaction\//);
      const other = `late.${email}`;
      const sent = await person.submit(url, { form_token, new_email: other });
      assert.match(sent.url, /\/interaction\//);
      const waiting = await gatehouse.database.selectFrom('outbox').selectAll().execute();
      assert.deepEqual(waiting, []);
      assert.ok(!mailServer.mails.some(({ to }) => to === other));
    });

    it('is not used without its owner’s session, so a mistyped address gives no stranger the account', async () => {
      const person = await logIn(OLD);
      const other = `typo.${email}`;
      await askForEmail(person, other);
      const { links } = await mailServer.next(other, PROOF);
      const stranger = new LinkVisitor(gatehouse);
      assert.match((await stranger.open(links[0]!)).page, /Log in|to continue to/);
      const foreign = await logIn(gatehouse.account.password, gatehouse.account.email);
      const arrival = await new LinkVisitor(gatehouse, foreign).open(links[0]!);
      assert.equal(arrival.response.status, 403);
      const own = await new LinkVisitor(gatehouse, person).open(links[0]!);
      assert.match(own.page, /<a href="\/logout">Log out<\/a>/);
      assert.equal(await emailOf(), email);
    });

    it('that has an account gets a mail that says so, and the page says the same as for any other', async () => {
      const person = await logIn(OLD);
      const taken = `taken.${email}`;
      await admin.post('/accounts', { email: taken });
      const answers = [await askForEmail(person, taken), await askForEmail(person, `free.${email}`)];
      assert.equal(answers[0], answers[1]);
      const mail = await mailServer.next(taken, /Your e-mail address at/);
      assert.match(mail.text, /It has an account already/);
      assert.deepEqual(mail.links, []);
    });

    it('that another account got meanwhile is refused, and nothing is changed', async () => {
      const person = await logIn(OLD);
      const other = `race.${email}`;
      await askForEmail(person, other);
      const { links } = await mailServer.next(other, PROOF);
      await admin.post('/accounts', { email: other });
      const visitor = new LinkVisitor(gatehouse, person);
      const done = await visitor.send(await visitor.open(links[0]!));
      assert.equal(done.response.status, 409);
      assert.equal(await emailOf(), email);
    });

    it('is refused if it is no address or the same one, and is asked for five times an hour at most', async () => {
      const person = await logIn(OLD);
      for (const wrong of ['', 'nobody', 'a@b', email, email.toUpperCase(), 'x@example.com\r\nBcc: y@example.com'])
        assert.match(await askForEmail(person, wrong), /role="alert"/, wrong);
      for (let round = 0; round < 5; round++) await askForEmail(person, `again${round}.${email}`);
      assert.match(await askForEmail(person, `again.${email}`), /too many mails/);
    });
  });

  async function logIn(password: string, address = email): Promise<Person> {
    const person = new Person(gatehouse, { account: { email: address, password } });
    await person.walk(`${gatehouse.issuer}/account/login`);
    assert.match(await accountPageOf(person), /Your account/);
    return person;
  }

  async function accountPageOf(person: Person): Promise<string> {
    return (await person.open(`${gatehouse.issuer}/account`)).page;
  }

  async function formTokenOf(person: Person, path: string): Promise<string> {
    const { page } = await person.open(`${gatehouse.issuer}${path}`);
    return /name="form_token" value="([^"]+)"/.exec(page)?.[1] ?? assert.fail(page);
  }

  async function changePassword(person: Person, new_password: string): Promise<void> {
    const form_token = await formTokenOf(person, '/account/password');
    const { page } = await person.submit(`${gatehouse.issuer}/account/password`, { form_token, new_password });
    assert.match(page, /Your password has been changed/);
  }

  async function askForEmail(person: Person, new_email: string): Promise<string> {
    const form_token = await formTokenOf(person, '/account/email');
    return (await person.submit(`${gatehouse.issuer}/account/email`, { form_token, new_email })).page;
  }

  /** Changes the address as its owner, or as somebody who knows the password. */
  async function moveTo(person: Person, address: string): Promise<void> {
    await askForEmail(person, address);
    const { links } = await mailServer.next(address, PROOF);
    const visitor = new LinkVisitor(gatehouse, person);
    assert.match(wordsOf(await visitor.send(await visitor.open(links[0]!))), /new e-mail address/);
  }

  async function sessionIds(): Promise<string[]> {
    const rows = await gatehouse.database
      .selectFrom('artifacts')
      .select('artifact_id')
      .where('kind', '=', 'Session')
      .where('account_id', '=', accountId)
      .execute();
    return rows.map(({ artifact_id }) => artifact_id.toString('hex'));
  }

  async function forgetPassword(): Promise<void> {
    const body = new URLSearchParams({ email });
    const { status } = await fetch(`${gatehouse.issuer}/forgot-password`, { method: 'POST', body, redirect: 'manual' });
    assert.equal(status, 303);
  }

  async function emailOf(): Promise<unknown> {
    return (await admin.get(`/accounts/${accountId}`)).body['email'];
  }

  async function logInStatus(password: string, address = email): Promise<number> {
    const form = await LoginForm.open(gatehouse, '127.0.0.1');
    return (await form.post(gatehouse, { email: address, password })).status;
  }
});
