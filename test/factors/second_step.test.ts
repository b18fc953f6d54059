import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { lockAccount } from '../../src/accounts/account.ts';
import { MFA_ACR, PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { signIn, registerApplication } from '../support/client/code_flow.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { newAccount, personWithApp, reachSecondStep } from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

describe('the second step of a login', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('asks an account with an authenticator app for a code, and the tokens name both methods', async () => {
    const { person } = await personWithApp(gatehouse);
    const { tokens } = await signIn(gatehouse, client, { person });
    const { amr, acr } = tokens.claims()!;
    assert.deepEqual([amr, acr], [['pwd', 'otp', 'mfa'], MFA_ACR]);
    assert.ok(
      person.trace.some((line) => line.endsWith('/second-step 303')),
      person.trace.join(),
    );
  });

  it('is not asked of an account without a factor', async () => {
    const account = await newAccount(gatehouse);
    const { tokens } = await signIn(gatehouse, client, { person: new Person(gatehouse, { account }) });
    assert.deepEqual([tokens.claims()!['amr'], tokens.claims()!['acr']], [['pwd'], PASSWORD_ACR]);
  });

  it('is asked for after a login that was under way when the first factor was added', async () => {
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    const { page, url } = await person.open(`${gatehouse.issuer}/account/login`);
    const action = new URL(/action="([^"]*\/login)"/.exec(page)![1]!, url).href;
    const { email, password, accountId } = account;
    const underWay = await gatehouse.database.transaction().execute(async (tx) => {
      await lockAccount(tx, accountId);
      const login = person.submit(action, { email, password });
      await eventually(waits);
      const { data_key_id } = await tx.selectFrom('data_keys').select('data_key_id').executeTakeFirstOrThrow();
      const secret = { account_id: accountId, data_key_id, sealed: Buffer.alloc(40), last_step: 0 };
      await tx
        .insertInto('totp_secrets')
        .values({ ...secret, created_at: new Date(), last_used_at: null })
        .execute();
      return [login];
    });
    const [login] = await Promise.all(underWay);
    assert.equal(login!.response.status, 401);
    assert.equal(person.cookies.has('gatehouse_session'), false);
  });

  async function waits(): Promise<boolean> {
    const { rows } = await sql`select from pg_stat_activity
      where wait_event_type = 'Lock' and datname = current_database()`.execute(gatehouse.database);
    return rows.length > 0;
  }

  it('takes no enrolment code at an application', async () => {
    const { account } = await personWithApp(gatehouse);
    const admin = await Admin.of(gatehouse);
    const code = String((await admin.post(`/accounts/${account.accountId}/enrolment-code`)).body['code']);
    const person = new Person(gatehouse, { account });
    const { arrival, action } = await reachSecondStep(
      gatehouse,
      person,
      `${gatehouse.url}/authorize?${authorizationRequest(client)}`,
    );
    assert.equal(arrival.page.includes('recovery_code'), false);
    assert.equal((await person.submit(action, { recovery_code: code })).response.status, 401);
    const own = await reachSecondStep(gatehouse, new Person(gatehouse, { account }));
    assert.equal(own.arrival.page.includes('recovery_code'), true);
  });

  it('takes no enrolment code in place of a recovery code', async () => {
    const { account } = await personWithApp(gatehouse);
    const admin = await Admin.of(gatehouse);
    await admin.post(`/accounts/${account.accountId}/enrolment-code`);
    // as if its owner had made it
    await gatehouse.database
      .updateTable('recovery_codes')
      .set({ for_enrolment: false, expires_at: null })
      .where('account_id', '=', account.accountId)
      .execute();
    const code = String((await admin.post(`/accounts/${account.accountId}/enrolment-code`)).body['code']);
    const person = new Person(gatehouse, { account });
    const { arrival, action } = await reachSecondStep(
      gatehouse,
      person,
      `${gatehouse.url}/authorize?${authorizationRequest(client)}`,
    );
    assert.equal(arrival.page.includes('recovery_code'), true);
    assert.equal((await person.submit(action, { recovery_code: code })).response.status, 401);
  });

  it('does not log the person in before it is done', async () => {
    const { account } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { arrival } = await reachSecondStep(gatehouse, person);
    assert.match(arrival.page, /<h1>Second step<\/h1>/);
    const { page } = await person.open(`${gatehouse.issuer}/account`);
    assert.match(page, /You are not logged in/);
    assert.equal(person.cookies.has('gatehouse_session'), false);
  });

  it('is not reached without the password, not even with a right code', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { page, url } = await person.open(`${gatehouse.issuer}/account/login`);
    assert.match(page, /\/login">/);
    const answer = await person.submit(`${url}/second-step`, { code: authenticator.code() });
    assert.match(answer.page, /<h1>Log in<\/h1>/);
  });

  it('refuses a wrong code, a malformed one, and one of another time', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    for (const [code, status] of [
      [wrongCode(authenticator.code()), 401],
      [authenticator.code(3), 401],
      [authenticator.code(-3), 401],
      ['12345', 400],
      ['not a code', 400],
    ] as const) {
      const { response } = await person.submit(action, { code });
      assert.equal(response.status, status, code);
    }
    // a person may type it with a space, at the end of its time
    const right = authenticator.code(1);
    const { page } = await person.submit(action, { code: `${right.slice(0, 3)} ${right.slice(3)}` });
    assert.match(page, /Your account/);
  });

  it('refuses a code that was used before, and an older one (RFC 6238, 5.2)', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const code = authenticator.code();
    const first = new Person(gatehouse, { account, code: () => code });
    assert.match((await first.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
    const second = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, second);
    for (const used of [code, authenticator.code(-1)]) {
      const { response, page } = await second.submit(action, { code: used });
      assert.equal(response.status, 401);
      assert.match(page, /has been used/);
    }
  });

  it('ends ten minutes after the password', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    moveClock(601);
    const { page } = await person.submit(action, { code: authenticator.code() });
    assert.match(page, /<h1>Log in<\/h1>/);
  });

  it('ends when the password changes', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    const change = { password: 'another password of twelve' };
    assert.equal((await gatehouse.adminCall('PATCH', `/accounts/${account.accountId}`, change)).status, 200);
    const { page } = await person.submit(action, { code: authenticator.code() });
    assert.match(page, /<h1>Log in<\/h1>/);
  });

  it('ends when the account is disabled', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    assert.equal((await gatehouse.adminCall('POST', `/accounts/${account.accountId}/disable`)).status, 200);
    const { page } = await person.submit(action, { code: authenticator.code() });
    assert.match(page, /<h1>Log in<\/h1>/);
  });

  it('limits wrong codes of a stranger, who cannot lock the owner out', async () => {
    const { account, authenticator } = await personWithApp(gatehouse, { address: '192.0.2.1' });
    const stranger = new Person(gatehouse, { account, address: '203.0.113.9' });
    const { action } = await reachSecondStep(gatehouse, stranger);
    const statuses: number[] = [];
    for (let guess = 0; guess < 8; guess++) {
      const { response } = await stranger.submit(action, { code: wrongCode(authenticator.code()) });
      statuses.push(response.status);
    }
    assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    // the right code is not even looked at
    assert.equal((await stranger.submit(action, { code: authenticator.code() })).response.status, 429);
    const owner = new Person(gatehouse, { account, address: '192.0.2.1', code: () => authenticator.code() });
    assert.match((await owner.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
  });

  it('records each wrong code, and no code', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    const code = wrongCode(authenticator.code());
    await person.submit(action, { code });
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('account_id', '=', account.accountId)
      .execute();
    const failed = events.filter(({ event }) => event === 'login.failed');
    assert.deepEqual(
      failed.map(({ details }) => details['reason']),
      ['wrong_code'],
    );
    assert.equal(JSON.stringify(events).includes(code), false);
    assert.equal(gatehouse.log.join('\n').includes(code), false);
  });

  it('leads back to the login of another account', async () => {
    const { account } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { arrival } = await reachSecondStep(gatehouse, person);
    const [, link = ''] = /href="([^"]*\?account=another)"/.exec(arrival.page) ?? [];
    const { page } = await person.open(new URL(link, gatehouse.issuer));
    assert.match(page, /<h1>Log in<\/h1>/);
  });
});

/** Six digits that are the code of no near time step. */
function wrongCode(right: string): string {
  return String((Number(right) + 314_159) % 1_000_000).padStart(6, '0');
}
