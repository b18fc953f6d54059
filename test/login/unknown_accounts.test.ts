import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startMailServer, type MailServer } from '../support/network/mail_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { RequestWork, type Work } from '../support/node/request_work.ts';
import { personWithApp } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const PASSWORD = 'a password of twelve words';
const GUESS = 'another password of words';
/** What differs between any two answers. The length is that of the body, which is compared. */
const PER_ANSWER = ['date', 'x-request-id', 'set-cookie', 'connection', 'keep-alive', 'content-length', 'retry-after'];

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly cookies: readonly string[];
  readonly body: string;
}

describe('an address without an account', () => {
  let mailServer: MailServer;
  let gatehouse: Gatehouse;
  let work: RequestWork;
  /** By what the address belongs to. */
  let addresses: Readonly<Record<string, string>>;
  before(async () => {
    work = new RequestWork();
    mailServer = await startMailServer();
    gatehouse = await startGatehouse({
      host: 'localhost',
      environment: {
        GATEHOUSE_SMTP_URL: mailServer.url,
        GATEHOUSE_MAIL_FROM: 'Gatehouse <id@example.com>',
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1, ::1',
      },
    });
    const admin = await Admin.of(gatehouse);
    await admin.post('/accounts', { email: 'known@example.com', password: PASSWORD });
    await admin.post('/accounts', { email: 'asked@example.com' });
    const { body } = await admin.post('/accounts', { email: 'ended@example.com', password: PASSWORD });
    await admin.post(`/accounts/${body.account_id}/disable`);
    const { account } = await personWithApp(gatehouse);
    addresses = {
      'no account': 'nobody@example.com',
      'an account': 'known@example.com',
      'an account without a password': 'asked@example.com',
      'a disabled account': 'ended@example.com',
      'an account with a second factor': account.email,
    };
  });
  after(async () => {
    await gatehouse.stop();
    await mailServer.stop();
    work.stop();
  });

  it('gets the same answer as others for a forgotten password, by the same statements', async () => {
    await assertSame('POST /forgot-password', (email, headers) =>
      read(
        fetch(`${gatehouse.issuer}/forgot-password`, {
          method: 'POST',
          headers: { ...headers, 'x-forwarded-for': freshAddress() },
          body: new URLSearchParams({ email }),
          redirect: 'manual',
        }),
      ),
    );
  });

  it('is asked for a password or a passkey on the same page as others, by the same statements', async () => {
    await assertSame('GET /interaction', async (email, headers) => {
      const person = new Person(gatehouse, { address: freshAddress() });
      const { url, page } = await person.open(`${gatehouse.issuer}/account/login`);
      assert.match(page, /data-passkey="get"/);
      return read(person.fetch(url, { headers }), url, email);
    });
  });

  it('gets the same answer as others to a wrong password, by the same statements and as many hashes', async () => {
    const { hashes } = await assertSame('POST /interaction/{uid}/login', async (email, headers) => {
      const { person, url } = await openLogin();
      const body = new URLSearchParams({ email, password: GUESS });
      return read(person.fetch(`${url}/login`, { method: 'POST', body, headers }), url, email);
    });
    assert.equal(hashes, 1);
  });

  it('gets the same answer as others after too many wrong passwords, by the same statements and no hash', async () => {
    const { hashes } = await assertSame('POST /interaction/{uid}/login', async (email, headers) => {
      const { person, url } = await openLogin();
      const body = new URLSearchParams({ email, password: GUESS });
      for (let guesses = 0; guesses < 5; guesses++) await person.submit(`${url}/login`, { email, password: GUESS });
      return read(person.fetch(`${url}/login`, { method: 'POST', body, headers }), url, email);
    });
    assert.equal(hashes, 0);
  });

  it('is noticed by this test if the work for it differs', async () => {
    await assert.rejects(
      assertSame('a right password', async (email, headers) => {
        const { person, url } = await openLogin();
        const password = email === 'known@example.com' ? PASSWORD : GUESS;
        const body = new URLSearchParams({ email, password });
        return read(person.fetch(`${url}/login`, { method: 'POST', body, headers }), url, email);
      }),
      /an account/,
    );
  });

  /** Sends the request for each address and compares answers and work with those for the address without an account. */
  async function assertSame(
    what: string,
    send: (email: string, headers: Record<string, string>) => Promise<Answer>,
  ): Promise<Work> {
    const [[, nobody] = ['', '']] = Object.entries(addresses);
    const expected = await work.of((headers) => send(nobody, headers));
    assert.ok(expected.work.statements.length > 0, what);
    for (const [whose, email] of Object.entries(addresses)) {
      const { answer, work: done } = await work.of((headers) => send(email, headers));
      assert.deepEqual(answer, expected.answer, `the answer for ${whose}`);
      assert.deepEqual(done, expected.work, `the work for ${whose}`);
    }
    return expected.work;
  }

  async function openLogin(): Promise<{ readonly person: Person; readonly url: string }> {
    const person = new Person(gatehouse, { address: freshAddress() });
    const { url } = await person.open(`${gatehouse.issuer}/account/login`);
    return { person, url };
  }
});

/** Reads an answer without what is new in each one: times, ids, challenges, and the address that was typed. */
async function read(response: Promise<Response>, url = '', email = ''): Promise<Answer> {
  const answer = await response;
  const { status, headers } = answer;
  const uid = new URL(url || 'http://localhost').pathname.split('/').at(-1) ?? '';
  const general = (text: string): string =>
    [uid, email]
      .filter((one) => one !== '')
      .reduce((left, one) => left.replaceAll(one, '…'), text)
      .replaceAll(/Wait \d+ seconds/g, 'Wait')
      .replaceAll(/&quot;challenge&quot;:&quot;[\w-]+&quot;/g, 'challenge');
  const named = [...headers].filter(([name]) => !PER_ANSWER.includes(name));
  return {
    status,
    headers: Object.fromEntries(named.map(([name, value]) => [name, general(value)])),
    cookies: headers.getSetCookie().map((cookie) => cookie.replace(/=.*?(;|$)/, '=…$1').replace(/expires=[^;]*/, '')),
    body: general(await answer.text()),
  };
}

let addressesGiven = 0;

/** Of a network of its own. */
function freshAddress(): string {
  addressesGiven += 1;
  return `10.${addressesGiven >> 8}.${addressesGiven & 255}.7`;
}
