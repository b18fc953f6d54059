import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { hiddenField, newAccount, personWithApp, reachSecondStep } from '../support/person/authenticator.ts';
import { LinkVisitor } from '../support/person/link_visitor.ts';
import { Person } from '../support/person/person.ts';

const CHANGED = /Your login .* was changed/;
const RESET = /A new password/;
const NEW_PASSWORD = 'another password of several words';

describe('a change of factors', () => {
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

  const factorsOf = async (accountId: string): Promise<unknown[]> =>
    (await admin.get(`/accounts/${accountId}/factors`)).body.items.map(({ type }) => type);

  it('is told to the owner, who reports it as not theirs: the factor and all logins end', async () => {
    const { account, person } = await personWithApp(gatehouse);
    await person.walk(`${gatehouse.issuer}/account/login`);
    const mail = await mailServer.next(account.email, CHANGED);
    assert.match(mail.text, /An authenticator app was added to your account\./);
    const visitor = new LinkVisitor(gatehouse);
    const { page } = await visitor.send(await visitor.open(mail.links[0]!));
    assert.match(page, /Your account is safe/);
    assert.deepEqual(await factorsOf(account.accountId), []);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
  });

  it('by an admin is told to the owner, and so is a recovery code that was made', async () => {
    const account = await newAccount(gatehouse);
    assert.equal((await admin.post(`/accounts/${account.accountId}/enrolment-code`)).status, 201);
    const { text } = await mailServer.next(account.email, CHANGED);
    assert.match(text, /An administrator made a code with which a new factor can be added/);
    assert.match(text, /by an administrator/);
  });

  it('is not made by a new password: the next login needs the second step', async () => {
    const { account } = await personWithApp(gatehouse);
    await mailServer.next(account.email, CHANGED);
    const { status } = await admin.post(`/accounts/${account.accountId}/links`, { kind: 'reset' });
    assert.equal(status, 201);
    const [link] = (await mailServer.next(account.email, RESET)).links;
    await new LinkVisitor(gatehouse).setPassword(link!, NEW_PASSWORD);
    assert.deepEqual(await factorsOf(account.accountId), ['totp']);
    const person = new Person(gatehouse, { account: { ...account, password: NEW_PASSWORD } });
    const { arrival } = await reachSecondStep(gatehouse, person);
    assert.match(arrival.page, /<h1>Second step<\/h1>/);
  });

  it('does not let the password be shorter where no rule demands it, because its owner can remove it', async () => {
    const { person } = await personWithApp(gatehouse);
    const plain = new Person(gatehouse, { account: await newAccount(gatehouse) });
    const url = `${gatehouse.issuer}/account/password`;
    for (const one of [plain, person]) {
      await one.walk(`${gatehouse.issuer}/account/login`);
      const { page } = await one.open(url);
      const form_token = hiddenField(page, 'form_token');
      const { page: answer } = await one.submit(url, { form_token, new_password: 'fern orbit 7' });
      assert.match(answer, /must have at least 15 characters/);
    }
  });

  it('and one of the password need the strongest login of the account', async () => {
    const { account } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { arrival } = await reachSecondStep(gatehouse, person, `${gatehouse.issuer}/account/password`);
    assert.match(arrival.page, /<h1>Second step<\/h1>/);
  });
});
