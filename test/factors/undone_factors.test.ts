import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { NO_NOTICES } from '../../src/account_links/notices.ts';
import { addPasskey } from '../../src/factors/passkey_rows.ts';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { change } from '../support/node/operator.ts';
import {
  Authenticator,
  enrolAuthenticator,
  newAccount,
  personWithApp,
  reachSecondStep,
  readEnrolment,
  type TestAccount,
} from '../support/person/authenticator.ts';
import { changePassword, makeRecoveryCodes, moveTo } from '../support/person/credential_changes.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { Person } from '../support/person/person.ts';

const CHANGED = /Your login .* was changed/;
const MOVED = /Your e-mail address .* was changed/;
const RESET = /A new password/;
const NEW_PASSWORD = 'another password of several words';

describe('a link in a mail about a factor', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let admin: Admin;
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
  beforeEach(() => void (mailServer.mails.length = 0));

  describe('that takes a change of the address back', () => {
    it('removes every factor that was added since, and lets the owner in with a new password', async () => {
      const account = await newAccount(gatehouse);
      const attacker = new Person(gatehouse, { account });
      const wayBack = await move(account, attacker);
      const app = await enrolAuthenticator(gatehouse, attacker);
      const moved = { ...account, email: `moved.${account.email}` };
      await makeRecoveryCodes(gatehouse, new Person(gatehouse, { account: moved, code: () => app.code() }));
      await addPasskeyTo(account);
      assert.deepEqual(await factorsOf(account), ['totp', 'passkey', 'recovery_codes']);

      assert.match(await follow(wayBack), /What was added to log in with since the change is removed/);
      assert.deepEqual(await factorsOf(account), []);
      assert.deepEqual(await removedFactorsOf(account), ['passkey', 'recovery_codes', 'totp']);
      const owner = await resetBy(account);
      const { page } = await owner.walk(`${gatehouse.issuer}/account/login`);
      assert.match(page, /Your account/);
      await enrolAuthenticator(gatehouse, owner);
    });

    it('does not let the old mailbox past an app that the account had before the change', async () => {
      const { account, person } = await personWithApp(gatehouse);
      const wayBack = await move(account, person);
      await replaceApp(person);
      await follow(wayBack);
      assert.deepEqual(await factorsOf(account), [], 'the app from before is gone');
      const owner = await resetBy(account);
      await assertStopped(owner);
      await enrolWithCode(account);
    });

    it('keeps the factors that the account had before the change', async () => {
      const { account, person } = await personWithApp(gatehouse);
      await makeRecoveryCodes(gatehouse, person);
      await follow(await move(account, person));
      assert.deepEqual(await factorsOf(account), ['totp', 'recovery_codes']);
    });
  });

  describe('that reports an added app', () => {
    it('does not let the mailbox alone past the first app, whatever password it sets', async () => {
      const { account } = await personWithApp(gatehouse);
      const report = await reportLinkOf(account);
      assert.match(await follow(report), /Log in with the password that you have/);
      assert.deepEqual(await factorsOf(account), []);
      const resets = mailServer.mails.filter(({ to, subject }) => to === account.email && RESET.test(subject));
      assert.deepEqual(resets, [], 'no reset begins');
      await admin.post(`/accounts/${account.accountId}/links`, { kind: 'reset' });
      await assertStopped(await resetBy(account));
      await enrolWithCode(account);
    });

    it('does not let it past the first app with a password that it set before the report', async () => {
      const { account } = await personWithApp(gatehouse);
      const report = await reportLinkOf(account);
      await admin.post(`/accounts/${account.accountId}/links`, { kind: 'reset' });
      const thief = await resetBy(account);
      assert.match(await follow(report), /you also need a recovery code from before the change/);
      await assertStopped(thief);
    });

    it('lets the owner of the first password in, who then chooses another one', async () => {
      const { account } = await personWithApp(gatehouse);
      const report = await reportLinkOf(account);
      await follow(report);
      const owner = new Person(gatehouse, { account });
      await changePassword(gatehouse, owner, NEW_PASSWORD);
      const again = new Person(gatehouse, { account: { ...account, password: NEW_PASSWORD } });
      assert.match((await again.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
    });

    it('does not let it past an app that replaced another one; a recovery code from before does', async () => {
      const { account, person } = await personWithApp(gatehouse);
      await reportLinkOf(account);
      const [code] = await makeRecoveryCodes(gatehouse, person);
      await reportLinkOf(account);
      await replaceApp(person);
      const report = await reportLinkOf(account);
      assert.match(await follow(report), /you also need a recovery code from before the change/);
      assert.deepEqual(await factorsOf(account), ['recovery_codes']);
      const owner = await resetBy(account);
      await assertStopped(owner);
      await enrolWithCode({ ...account, password: NEW_PASSWORD }, code);
    });

    it('removes recovery codes that were made after it, too', async () => {
      const { account, person } = await personWithApp(gatehouse);
      const report = await reportLinkOf(account);
      await makeRecoveryCodes(gatehouse, person);
      await follow(report);
      assert.deepEqual(await factorsOf(account), []);
    });

    it('leaves a later app as it is', async () => {
      const { account, person } = await personWithApp(gatehouse);
      const report = await reportLinkOf(account);
      await replaceApp(person);
      await follow(report);
      assert.deepEqual(await factorsOf(account), ['totp']);
      const { arrival } = await reachSecondStep(gatehouse, await resetBy(account));
      assert.match(arrival.page, /Code of your authenticator app/);
    });
  });

  it('that reports former recovery codes leaves the later ones as they are', async () => {
    const { account, person } = await personWithApp(gatehouse);
    await reportLinkOf(account);
    await makeRecoveryCodes(gatehouse, person);
    const report = await reportLinkOf(account);
    await makeRecoveryCodes(gatehouse, person);
    await follow(report);
    assert.deepEqual(await factorsOf(account), ['totp', 'recovery_codes']);
  });

  it('leaves a need that an admin ends by a reset of all factors', async () => {
    const { account } = await personWithApp(gatehouse);
    const report = await reportLinkOf(account);
    await follow(report);
    await admin.post(`/accounts/${account.accountId}/links`, { kind: 'reset' });
    const owner = await resetBy(account);
    await assertStopped(owner);
    assert.equal((await admin.delete(`/accounts/${account.accountId}/factors`)).status, 204);
    assert.match((await owner.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
  });

  /** Changes the address, and returns the way back, which only the old mailbox gets. */
  async function move({ email }: TestAccount, person: Person): Promise<string> {
    await moveTo(gatehouse, mailServer, person, `moved.${email}`);
    return (await mailServer.next(email, MOVED)).links[0]!;
  }

  /** Waits for the mail about the latest change, and returns its link. */
  async function reportLinkOf({ email }: TestAccount): Promise<string> {
    const { links } = await mailServer.next(email, CHANGED);
    mailServer.mails.length = 0;
    return links[0]!;
  }

  async function follow(link: string): Promise<string> {
    const visitor = new LinkVisitor(gatehouse);
    const arrival = await visitor.send(await visitor.open(link));
    assert.equal(arrival.response.status, 200);
    return wordsOf(arrival);
  }

  /** Sets a new password by a link in the mailbox, and returns a person who knows it. */
  async function resetBy(account: TestAccount): Promise<Person> {
    const { links } = await mailServer.next(account.email, RESET);
    const done = await new LinkVisitor(gatehouse).setPassword(links[0]!, NEW_PASSWORD);
    assert.match(wordsOf(done), /Your password is set/);
    return new Person(gatehouse, { account: { ...account, password: NEW_PASSWORD } });
  }

  async function assertStopped(person: Person): Promise<void> {
    for (const path of ['/account/login', '/account/authenticator']) {
      const { arrival } = await reachSecondStep(gatehouse, person, `${gatehouse.issuer}${path}`);
      assert.match(arrival.page, /<h1>Second step<\/h1>/);
    }
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
  }

  /** Logs in with the new password and a code, of an admin if none is given, and adds an app. */
  async function enrolWithCode(account: TestAccount, known?: string): Promise<void> {
    const made = known === undefined && (await admin.post(`/accounts/${account.accountId}/enrolment-code`)).body;
    const recovery_code = known ?? String(made && made['code']);
    const url = `${gatehouse.issuer}/account/authenticator`;
    const person = new Person(gatehouse, { account: { ...account, password: NEW_PASSWORD } });
    const { action } = await reachSecondStep(gatehouse, person, url);
    const { page } = await person.submit(action, { recovery_code });
    const { secret, fields } = readEnrolment(page);
    const app = new Authenticator(secret);
    assert.match((await person.submit(url, { ...fields, code: app.code(-1) })).page, /It has been added/);
    const options = { account: { ...account, password: NEW_PASSWORD }, code: () => app.code() };
    const again = new Person(gatehouse, options);
    assert.match((await again.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
  }

  async function replaceApp(person: Person): Promise<void> {
    const url = `${gatehouse.issuer}/account/authenticator`;
    const { secret, fields } = readEnrolment((await person.walk(url)).page);
    const done = await person.submit(url, { ...fields, code: new Authenticator(secret).code(-1) });
    assert.match(done.page, /It has been added/);
  }

  function addPasskeyTo({ accountId }: TestAccount): Promise<unknown> {
    const passkey = {
      credentialId: `of ${accountId}`,
      name: 'A key',
      publicKey: Buffer.from('a key'),
      counter: 0,
      transports: [],
      aaguid: '00000000-0000-0000-0000-000000000000',
      backupEligible: false,
      backedUp: false,
    };
    return change(gatehouse, async (work) => {
      const { uid } = await work.tx
        .selectFrom('artifacts')
        .select('uid')
        .where('account_id', '=', accountId)
        .where('kind', '=', 'Session')
        .executeTakeFirstOrThrow();
      return addPasskey({ ...work, notices: NO_NOTICES }, accountId, passkey, uid!);
    });
  }

  async function factorsOf({ accountId }: TestAccount): Promise<unknown[]> {
    return (await admin.get(`/accounts/${accountId}/factors`)).body.items.map(({ type }) => type);
  }

  async function removedFactorsOf({ accountId }: TestAccount): Promise<unknown[]> {
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('account_id', '=', accountId)
      .where('event', '=', 'factor.removed')
      .execute();
    return events.map(({ details }) => String(details['factor'])).toSorted((a, b) => a.localeCompare(b));
  }
});
