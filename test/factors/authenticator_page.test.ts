import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import {
  Authenticator,
  enrolAuthenticator,
  hiddenField,
  newAccount,
  personWithApp,
  readEnrolment,
} from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

describe('the page of the authenticator app', () => {
  let gatehouse: Gatehouse;
  let url: string;
  before(async () => {
    gatehouse = await startGatehouse();
    url = `${gatehouse.issuer}/account/authenticator`;
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const newPerson = async () => {
    const account = await newAccount(gatehouse);
    return { account, person: new Person(gatehouse, { account }) };
  };

  it('counts an app only after one of its codes', async () => {
    const { account, person } = await newPerson();
    const { page } = await person.walk(url);
    const { secret, fields } = readEnrolment(page);
    for (const code of ['', 'a', 'éééééé', '\u0000'.repeat(6), '0'.repeat(40), '１２３４５６'])
      assert.equal((await person.submit(url, { ...fields, code })).response.status, 400, JSON.stringify(code));
    const wrong = await person.submit(url, { ...fields, code: '000000' });
    assert.equal(wrong.response.status, 400);
    assert.equal(readEnrolment(wrong.page).secret, secret, 'the person need not scan another code');
    assert.match(
      (await new Person(gatehouse, { account }).walk(`${gatehouse.issuer}/account/login`)).page,
      /Your account/,
    );
    const code = new Authenticator(secret).code();
    assert.match((await person.submit(url, { ...fields, code })).page, /It has been added/);
    const other = new Person(gatehouse, { account, code: () => code });
    // the code that confirmed the app does not log in too
    await assert.rejects(other.walk(`${gatehouse.issuer}/account/login`), /The same page again/);
  });

  it('stores the secret sealed, and shows it only until it is confirmed', async () => {
    const { account, authenticator, person } = await personWithApp(gatehouse);
    const row = await gatehouse.database
      .selectFrom('totp_secrets')
      .selectAll()
      .where('account_id', '=', account.accountId)
      .executeTakeFirstOrThrow();
    assert.equal(row.sealed.toString('latin1').includes(authenticator.secret), false);
    const { page } = await person.walk(url);
    assert.equal(page.replaceAll(' ', '').includes(authenticator.secret), false);
    const events = await gatehouse.database.selectFrom('audit_events').select('details').execute();
    assert.equal(JSON.stringify(events).includes(authenticator.secret), false);
  });

  it('shows no key to a login that is older than ten minutes, and takes no change from it', async () => {
    const { person } = await newPerson();
    const { page } = await person.walk(url);
    const { secret, fields } = readEnrolment(page);
    moveClock(601);
    const code = new Authenticator(secret).code();
    assert.equal((await person.submit(url, { ...fields, code })).response.status, 403);
    const later = await person.open(url);
    assert.match(later.page, /Log in again/);
    assert.equal(later.page.includes('<dt>Key</dt>'), false);
    const again = await person.walk(`${url}?login=again`);
    assert.match(again.page, /<dt>Key<\/dt>/);
  });

  it('takes no secret that the server did not make for this session', async () => {
    const one = await newPerson();
    const two = await newPerson();
    const theirs = readEnrolment((await one.person.walk(url)).page);
    const { fields } = readEnrolment((await two.person.walk(url)).page);
    const code = new Authenticator(theirs.secret).code();
    for (const enrolment of [theirs.fields['enrolment']!, 'x.y', '', `${fields['enrolment']}A`]) {
      const { response, page } = await two.person.submit(url, { ...fields, enrolment, code });
      assert.equal(response.status, 400);
      assert.equal(page.includes('It has been added'), false);
    }
  });

  it('refuses a form of another session, and of another site', async () => {
    const one = await newPerson();
    const two = await newPerson();
    const { fields } = readEnrolment((await one.person.walk(url)).page);
    await two.person.walk(url);
    assert.equal((await two.person.submit(url, { ...fields, code: '123456' })).response.status, 403);
    const foreign = await one.person.fetch(url, {
      method: 'POST',
      body: new URLSearchParams({ ...fields, code: '123456' }),
      headers: { origin: 'https://attacker.example' },
    });
    assert.equal(foreign.status, 403);
  });

  it('ends all other sessions with a new app, and gives this one a new id', async () => {
    const { account, person } = await newPerson();
    const other = new Person(gatehouse, { account });
    await other.walk(`${gatehouse.issuer}/account/login`);
    await person.walk(`${gatehouse.issuer}/account/login`);
    const oldId = person.cookies.get('gatehouse_session')?.value;
    await enrolAuthenticator(gatehouse, person);
    assert.notEqual(person.cookies.get('gatehouse_session')?.value, oldId);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /<h1>Profile</);
    assert.match((await other.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
    const thief = new Person(gatehouse);
    thief.cookies.set('gatehouse_session', { value: oldId!, path: '/' });
    assert.match((await thief.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
  });

  it('removes no app for a login without it', async () => {
    const { account, person } = await personWithApp(gatehouse);
    const { page } = await person.walk(url);
    assert.match(page, /Remove the app/);
    // the same session, as if it were from a login with the password alone
    await sql`update artifacts set payload = jsonb_set(payload, '{amr}', '["pwd"]')
      where kind = 'Session' and account_id = ${account.accountId}`.execute(gatehouse.database);
    const refused = await person.submit(`${url}/remove`, { form_token: hiddenField(page, 'form_token') });
    assert.equal(refused.response.status, 403);
    const shown = await person.open(url);
    assert.equal(/Remove the app|<dt>Key/.test(shown.page), false);
    assert.match(shown.page, /Log in again/);
  });

  it('records what was added and removed', async () => {
    const { account, person } = await personWithApp(gatehouse);
    const { page } = await person.walk(url);
    const { page: done } = await person.submit(`${url}/remove`, { form_token: hiddenField(page, 'form_token') });
    assert.match(done, /It has been removed/);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details', 'actor_id'])
      .where('account_id', '=', account.accountId)
      .where('event', 'like', 'factor.%')
      .orderBy('occurred_at')
      .execute();
    assert.deepEqual(
      events.map(({ event, details, actor_id }) => [event, details['factor'], actor_id === account.accountId]),
      [
        ['factor.added', 'totp', true],
        ['factor.removed', 'totp', true],
      ],
    );
    assert.match(
      (await new Person(gatehouse, { account }).walk(`${gatehouse.issuer}/account/login`)).page,
      /Your account/,
    );
  });
});
