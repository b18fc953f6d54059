import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import {
  Authenticator,
  hiddenField,
  newAccount,
  personWithApp,
  reachSecondStep,
  readEnrolment,
} from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const CODE = /[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){5}/g;

describe('recovery codes', () => {
  let gatehouse: Gatehouse;
  let url: string;
  before(async () => {
    gatehouse = await startGatehouse();
    url = `${gatehouse.issuer}/account/recovery-codes`;
  });
  after(() => gatehouse.stop());

  /** A person with an authenticator app and ten codes. */
  const withCodes = async () => {
    const { account, authenticator, person } = await personWithApp(gatehouse);
    const { page } = await person.walk(url);
    const made = await person.submit(url, { form_token: hiddenField(page, 'form_token') });
    return { account, authenticator, person, made, codes: [...made.page.matchAll(CODE)].map(([code]) => code) };
  };

  it('are ten, shown once, and stored as digests', async () => {
    const { account, person, made, codes } = await withCodes();
    assert.equal(new Set(codes).size, 10);
    assert.equal(made.response.headers.get('cache-control'), 'no-store');
    const again = await person.open(url);
    assert.match(again.page, /10 unused codes/);
    assert.equal([...again.page.matchAll(CODE)].length, 0);
    const rows = await gatehouse.database
      .selectFrom('recovery_codes')
      .selectAll()
      .where('account_id', '=', account.accountId)
      .execute();
    assert.equal(rows.length, 10);
    const stored =
      JSON.stringify(rows) +
      JSON.stringify(await gatehouse.database.selectFrom('audit_events').select('details').execute());
    for (const code of codes) assert.equal(stored.includes(code) || gatehouse.log.join('').includes(code), false);
  });

  it('log in once each, as nothing more than a password, and the use is recorded', async () => {
    const { account, codes } = await withCodes();
    const client = await registerApplication(gatehouse);
    const use = async (recovery_code: string) => {
      const person = new Person(gatehouse, { account });
      const { action } = await reachSecondStep(gatehouse, person);
      return { person, arrival: await person.submit(action, { recovery_code }) };
    };
    // typed as people type
    const typed = codes[0]!.toLowerCase().replaceAll('-', ' ');
    const { person, arrival } = await use(typed);
    assert.match(arrival.page, /Your account/);
    const { tokens } = await signIn(gatehouse, client, { person });
    assert.deepEqual([tokens.claims()!['amr'], tokens.claims()!['acr']], [['pwd', 'recovery_code'], PASSWORD_ACR]);
    const second = await use(codes[0]!);
    assert.equal(second.arrival.response.status, 401);
    assert.match(second.arrival.page, /not right, or it has been used/);
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'details'])
      .where('account_id', '=', account.accountId)
      .where('event', '=', 'recovery_code.used')
      .execute();
    assert.deepEqual(
      events.map(({ details }) => details),
      [{ left: 9 }],
    );
  });

  it('let their owner set up a new app, but not remove the old one nor make new codes', async () => {
    const { account, codes } = await withCodes();
    const person = new Person(gatehouse, { account });
    const app = `${gatehouse.issuer}/account/authenticator`;
    const { action } = await reachSecondStep(gatehouse, person, app);
    const { page } = await person.submit(action, { recovery_code: codes[1]! });
    assert.equal(page.includes('Remove the app'), false);
    const { secret, fields } = readEnrolment(page);
    const { form_token } = fields;
    assert.equal((await person.submit(`${app}/remove`, { form_token: form_token! })).response.status, 403);
    assert.equal((await person.submit(url, { form_token: form_token! })).response.status, 403);
    const fresh = new Authenticator(secret);
    assert.match((await person.submit(app, { ...fields, code: fresh.code(-1) })).page, /It has been added/);
    const next = new Person(gatehouse, { account, code: () => fresh.code() });
    assert.match((await next.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
  });

  it('end when new ones are made', async () => {
    const { account, person, codes, authenticator } = await withCodes();
    const { page } = await person.open(url);
    const made = await person.submit(url, { form_token: hiddenField(page, 'form_token') });
    const [fresh] = [...made.page.matchAll(CODE)].map(([code]) => code);
    const other = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, other);
    assert.equal((await other.submit(action, { recovery_code: codes[0]! })).response.status, 401);
    assert.match((await other.submit(action, { recovery_code: fresh! })).page, /Your account/);
    assert.ok(authenticator.secret.length > 0);
  });

  it('that are new end all other sessions, and give this one a new id', async () => {
    const { account, person, authenticator } = await withCodes();
    const other = new Person(gatehouse, { account, code: () => authenticator.code(1) });
    const profile = `${gatehouse.issuer}/account`;
    assert.match((await other.walk(`${profile}/login`)).page, /Your account/);
    const cookie = person.cookies.get('gatehouse_session');
    const { page } = await person.open(url);
    const made = await person.submit(url, { form_token: hiddenField(page, 'form_token') });
    assert.equal(made.response.status, 200);
    assert.match((await other.open(profile)).page, /You are not logged in/);
    assert.doesNotMatch((await person.open(profile)).page, /You are not logged in/);
    assert.notEqual(person.cookies.get('gatehouse_session'), cookie);
  });

  it('are not made for an account without a second factor', async () => {
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    const { page } = await person.walk(url);
    assert.match(page, /Add an authenticator app or a passkey first/);
    const form_token = hiddenField((await person.open(`${gatehouse.issuer}/account/authenticator`)).page, 'form_token');
    assert.equal((await person.submit(url, { form_token })).response.status, 409);
  });
});
