import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { enrolAuthenticator, newAccount, reachSecondStep, type TestAccount } from '../support/person/authenticator.ts';
import { LinkVisitor, wordsOf } from '../support/person/link_visitor.ts';
import { Person, type PersonOptions } from '../support/person/person.ts';
import { addPasskey, logInWithPasskey, SoftwareAuthenticator } from '../support/person/software_authenticator.ts';

const NEW_PLACE = /A new login to your account/;
const SECOND_STEP = /Somebody may know your password/;
const RESET = /A new password/;
const HOME = '192.0.2.1';
const ELSEWHERE = '198.51.100.7';
const DAY_SECONDS = 86_400;

describe('the owner of an account is told', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let account: TestAccount;
  before(async () => {
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      host: 'localhost',
      environment: {
        GATEHOUSE_SMTP_URL: mailServer.url,
        GATEHOUSE_MAIL_FROM: 'id@example.com',
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1, ::1',
      },
    });
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
  });
  afterEach(resetClock);
  beforeEach(async () => {
    mailServer.mails.length = 0;
    account = await newAccount(gatehouse);
  });

  it('of a login from a new browser in a new network, and a report of it ends the login and the password', async () => {
    await logIn({ address: HOME });
    const stranger = await logIn({ address: ELSEWHERE });
    const mail = await mailServer.next(account.email, NEW_PLACE);
    assert.match(mail.text, /logged in to your account .* from the IP address 198\.51\.100\.7/);
    assert.ok(!mail.text.includes(account.password));
    const visitor = new LinkVisitor(gatehouse);
    const page = await visitor.open(mail.links[0]!);
    assert.match(wordsOf(page), /^This wasn’t you\?/);
    assert.match(wordsOf(await visitor.send(page)), /^Your account is safe/);
    assert.match((await stranger.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
    assert.equal((await tryPassword({ address: HOME })).response.status, 401);
    await mailServer.next(account.email, RESET);
  });

  it('of no first login, and of none in a browser or a network that is known', async () => {
    const first = await logIn({ address: HOME });
    await logIn({ address: HOME });
    // the same browser in another network
    const moved = new Person(gatehouse, { account, address: ELSEWHERE });
    for (const [name, cookie] of first.cookies) if (name.includes('known_browser')) moved.cookies.set(name, cookie);
    await moved.walk(`${gatehouse.issuer}/account/login`);
    await assertNoMail();
  });

  it('of a login with a passkey too, and a report of it removes the passkey', async () => {
    const passkey = new SoftwareAuthenticator(gatehouse.issuer);
    await addPasskey(gatehouse, await logIn({ address: HOME }), passkey);
    mailServer.mails.length = 0;
    const stranger = new Person(gatehouse, { address: ELSEWHERE });
    const url = `${gatehouse.issuer}/account/login`;
    assert.match((await logInWithPasskey(stranger, passkey, url)).page, /Your account/);
    const { links } = await mailServer.next(account.email, NEW_PLACE);
    const visitor = new LinkVisitor(gatehouse);
    await visitor.send(await visitor.open(links[0]!));
    const again = await logInWithPasskey(new Person(gatehouse, { address: ELSEWHERE }), passkey, url);
    assert.equal(again.response.status, 401);
  });

  it('once a day of a right password at a new place without the second step, and of none at a known place', async () => {
    const owner = await logIn({ address: HOME });
    await enrolAuthenticator(gatehouse, owner);
    mailServer.mails.length = 0;
    await failSecondStep(HOME);
    await assertNoMail(SECOND_STEP);
    for (let tries = 0; tries < 3; tries++) await failSecondStep(ELSEWHERE);
    assert.match((await mailServer.next(account.email, SECOND_STEP)).text, /They are not logged in/);
    await assertNoMail(SECOND_STEP);
    moveClock(DAY_SECONDS);
    await failSecondStep(ELSEWHERE);
    await mailServer.next(account.email, SECOND_STEP);
  });

  async function logIn(options: PersonOptions): Promise<Person> {
    const person = new Person(gatehouse, { account, ...options });
    const { page } = await person.walk(`${gatehouse.issuer}/account/login`);
    assert.match(page, /Your account/);
    return person;
  }

  async function tryPassword(options: PersonOptions) {
    const person = new Person(gatehouse, { account, ...options });
    const { url } = await person.open(`${gatehouse.issuer}/account/login`);
    return person.submit(`${url}/login`, { email: account.email, password: account.password });
  }

  async function failSecondStep(address: string): Promise<void> {
    const person = new Person(gatehouse, { account, address });
    const { action } = await reachSecondStep(gatehouse, person);
    assert.equal((await person.submit(action, { code: '000000' })).response.status, 401);
  }

  /** Waits until the outbox has nothing left to do. */
  async function assertNoMail(subject = NEW_PLACE): Promise<void> {
    await eventually(async () => {
      const waiting = await gatehouse.database.selectFrom('outbox').select('message_id').execute();
      return waiting.length === 0;
    }, 15_000);
    const mails = mailServer.mails.filter((mail) => mail.to === account.email && subject.test(mail.subject));
    assert.deepEqual(mails, []);
  }
});
