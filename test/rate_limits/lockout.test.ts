import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { fieldsOf, registerDevice, requestDevice, UNKNOWN_CODE } from '../support/person/device_flow.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { LoginForm, type Credentials, type LoginAnswer } from '../support/person/login_form.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';

const PASSWORD = 'a right password of somebody';

/** Each test plays an attacker against two nodes, which see the addresses that their proxy reports. */
describe('an attacker', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair({ GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' });
  });
  after(() => pair.stop());

  async function makeAccount(name: string): Promise<Credentials> {
    const account = { email: `${name}@example.com`, password: PASSWORD };
    const made = await pair.a.adminCall('POST', '/accounts', account);
    assert.equal(made.status, 201, await made.text());
    return account;
  }

  async function logIn(account: Credentials, address: string, person?: Person): Promise<number> {
    const form = await LoginForm.open(pair.a, address, person);
    return (await form.post(pair.b, account)).status;
  }

  interface Guesses {
    readonly count: number;
    readonly atOnce: number;
    readonly email: (index: number) => string;
    readonly address: (index: number) => string;
  }

  /** Wrong passwords, sent to both nodes in turn, so many at once. */
  async function guess({ count: guesses, atOnce: workers, email, address }: Guesses): Promise<LoginAnswer[]> {
    const form = await LoginForm.open(pair.a, address(0));
    const answers: LoginAnswer[] = [];
    let next = 0;
    await atOnce(workers, pair, async (node) => {
      for (let index = next++; index < guesses; index = next++) {
        answers.push(await form.post(node, { email: email(index), password: 'wrong' }, address(index)));
      }
    });
    return answers;
  }

  /** What a minute does to all limits. */
  async function passMinute(): Promise<void> {
    const { database } = pair.a;
    await sql`update attempt_counters set window_ends_at = window_ends_at - interval '61 s'`.execute(database);
    await sql`update failed_attempts set expire = expire - 61000`.execute(database);
  }

  const count = (answers: readonly LoginAnswer[], wanted: number): number =>
    answers.filter(({ status }) => status === wanted).length;

  async function lookedAt({ email }: Credentials): Promise<number> {
    const { account_id } = await pair.a.database
      .selectFrom('accounts')
      .select('account_id')
      .where('email', '=', email)
      .executeTakeFirstOrThrow();
    const events = pair.a.database.selectFrom('audit_events').select('event').where('event', '=', 'login.failed');
    return (await events.where('account_id', '=', account_id).execute()).length;
  }

  it('who sends a hundred guesses at once has no more of them looked at than one after the other (FIELD-B10)', async () => {
    const account = await makeAccount('parallel');
    const answers = await guess({
      count: 100,
      atOnce: 100,
      email: () => account.email,
      address: () => '203.0.113.10',
    });
    assert.equal(await lookedAt(account), 5);
    // a node that is too busy may say so instead
    assert.deepEqual([count(answers, 401), count(answers, 429) + count(answers, 503)], [5, 95]);
    for (const { status, retryAfterSeconds } of answers) {
      if (status === 429) assert.ok(retryAfterSeconds > 30 && retryAfterSeconds <= 60, `${retryAfterSeconds}`);
    }
  });

  it('is told apart from one person who logs in eight times at once (FIELD-B10)', async () => {
    const account = await makeAccount('kiosk');
    const forms = await Promise.all(Array.from({ length: 8 }, () => LoginForm.open(pair.a, '203.0.113.20')));
    const answers = await atOnce(8, pair, (node, index) => forms[index]!.post(node, account));
    assert.equal(count(answers, 303), 8, answers.map(({ status }) => status).join());
  });

  it('at many addresses can’t keep an owner out who has logged in from this one before (FIELD-B8)', async () => {
    const account = await makeAccount('besieged');
    assert.equal(await logIn(account, '203.0.113.40'), 303);
    const guesses = await guess({
      count: 48,
      atOnce: 6,
      email: () => account.email,
      address: (index) => `198.51.100.${index % 12}`,
    });
    assert.equal(count(guesses, 401), 30, 'which is the limit of an account');
    assert.equal(await logIn(account, '203.0.113.41'), 429, 'from somewhere new one has to wait');
    assert.equal(await logIn(account, '203.0.113.40'), 303);
  });

  describe('whose address is beyond its limit', () => {
    const office = '2001:db8:0:77';
    let colleague: Credentials;
    before(async () => {
      colleague = await makeAccount('colleague');
      assert.equal(await logIn(colleague, `${office}::1`), 303);
      const guesses = await guess({
        count: 70,
        atOnce: 6,
        email: (index) => `somebody-${index}@example.com`,
        address: (index) => `${office}::${index + 2}`,
      });
      assert.deepEqual([count(guesses, 401), count(guesses, 429)], [60, 10], 'all addresses of a network together');
    });

    it('can’t keep an owner out elsewhere (FIELD-B8)', async () => {
      const account = await makeAccount('elsewhere');
      for (let minute = 0; minute < 7; minute++) {
        const refused = await guess({ count: 6, atOnce: 6, email: () => account.email, address: () => `${office}::5` });
        assert.equal(count(refused, 429), 6);
        await passMinute();
      }
      assert.equal(await logIn(account, '203.0.113.31'), 303);
    });

    it('can’t keep people out who have logged in from that address before (FIELD-B9)', async () => {
      assert.equal(await logIn(await makeAccount('newcomer'), `${office}::1`), 429, 'others have to wait');
      assert.equal(await logIn(colleague, `${office}::99`), 303);
    });
  });

  it('at the owner’s own address can’t keep out the browser that the owner has used before (FIELD-B9)', async () => {
    const account = await makeAccount('same-address');
    const address = '203.0.113.60';
    const owner = new Person(pair.a, { address });
    assert.equal(await logIn(account, address, owner), 303);
    await guess({ count: 12, atOnce: 6, email: () => account.email, address: () => address });
    assert.equal(await logIn(account, address), 429, 'any other browser has to wait');
    owner.cookies.delete('gatehouse_session');
    assert.equal(await logIn(account, address, owner), 303);
  });

  interface CodeAnswer {
    readonly status: number;
    readonly page: string;
  }

  /** Enters codes in one browser, one after the other. */
  async function enterCodes(person: Person, node: Gatehouse, codes: readonly string[]): Promise<CodeAnswer[]> {
    let { page } = await person.open(`${pair.a.issuer}/device`);
    const answers: CodeAnswer[] = [];
    for (const user_code of codes) {
      const body = new URLSearchParams({ ...fieldsOf(page), user_code });
      const response = await person.fetch(`${node.url}/device`, { method: 'POST', body });
      page = await response.text();
      answers.push({ status: response.status, page });
    }
    return answers;
  }

  it('who guesses user codes from everywhere refuses no person’s right code (FIELD-B11)', async () => {
    const device = await registerDevice(pair.a);
    const { user_code } = await requestDevice(pair.a, device);
    let wrong = 0;
    // each browser of another network; a thousand guesses are made in user_code_guesses.test.ts
    await atOnce(12, pair, async (node, index) => {
      const guesser = new Person(pair.a, { address: `10.0.${index}.1` });
      const answers = await enterCodes(guesser, node, Array<string>(10).fill('BCDFG-HJKLM'));
      wrong += answers.filter(({ page }) => UNKNOWN_CODE.test(page)).length;
    });
    assert.equal(wrong, 120);
    const [answer] = await enterCodes(new Person(pair.a, { address: '203.0.113.70' }), pair.b, [user_code]);
    assert.equal(answer!.status, 303, 'on to the login');
  });

  it('who guesses user codes refuses no code of a person who is logged in behind the same address (FIELD-B11)', async () => {
    const address = '203.0.113.80';
    const device = await registerDevice(pair.a);
    const { user_code } = await requestDevice(pair.a, device);
    const owner = new Person(pair.a, { address, account: await makeAccount('viewer') });
    assert.match((await owner.walk(`${pair.a.issuer}/account/login`)).page, /viewer@example\.com/);
    const statuses: number[] = [];
    for (let browser = 0; browser < 3; browser++) {
      const answers = await enterCodes(new Person(pair.a, { address }), pair.b, Array<string>(9).fill('BCDFG-HJKLM'));
      statuses.push(...answers.map(({ status }) => status));
    }
    assert.deepEqual([statuses.filter((status) => status === 400).length, statuses.at(-1)], [20, 429]);
    const [answer] = await enterCodes(owner, pair.b, [user_code]);
    assert.equal(answer!.status, 303);
  });
});
