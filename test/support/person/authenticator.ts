/** An authenticator app of a person, and how the person sets it up and uses it on our pages. */
import assert from 'node:assert/strict';
import { Secret, TOTP } from 'otpauth';
import type { Gatehouse } from '../node/gatehouse.ts';
import { Person, type Arrival, type PersonOptions } from './person.ts';

const PERIOD_SECONDS = 30;

export interface TestAccount {
  readonly email: string;
  readonly password: string;
  readonly accountId: string;
}

let accounts = 0;

/** An account of its own, without a factor besides its password. */
export async function newAccount(gatehouse: Gatehouse): Promise<TestAccount> {
  accounts += 1;
  const account = { email: `person-${process.pid}-${accounts}@example.com`, password: 'a password of twelve' };
  const answer = await gatehouse.adminCall('POST', '/accounts', account);
  const { account_id: accountId } = (await answer.json()) as { account_id: string };
  return { ...account, accountId };
}

export class Authenticator {
  readonly secret: string;

  constructor(secret: string) {
    this.secret = secret.replaceAll(' ', '');
  }

  /** The code of the current time step, or of one that many steps later. */
  code(steps = 0): string {
    const timestamp = Date.now() + steps * PERIOD_SECONDS * 1_000;
    return TOTP.generate({ secret: Secret.fromBase32(this.secret), timestamp });
  }
}

/** What the page of the authenticator app shows to set one up. */
export function readEnrolment(page: string): { readonly secret: string; readonly fields: Record<string, string> } {
  const [, secret] = /<dt>Key<\/dt>\s*<dd><code>([A-Z2-7 ]+)<\/code>/.exec(page) ?? [];
  if (secret === undefined) assert.fail(`No enrolment: ${wordsOf(page)}`);
  return { secret, fields: { form_token: hiddenField(page, 'form_token'), enrolment: hiddenField(page, 'enrolment') } };
}

export function hiddenField(page: string, name: string): string {
  return new RegExp(`name="${name}" value="([^"]+)"`).exec(page)?.[1] ?? '';
}

function wordsOf(page: string): string {
  return page.replaceAll(/<[^>]*>|\s+/g, ' ');
}

/** Logs in and sets up an app, with a code of the step before, so that the current code is still unused. */
export async function enrolAuthenticator(gatehouse: Pick<Gatehouse, 'issuer'>, person: Person): Promise<Authenticator> {
  const url = `${gatehouse.issuer}/account/authenticator`;
  const { page } = await person.walk(url);
  const { secret, fields } = readEnrolment(page);
  const authenticator = new Authenticator(secret);
  const done = await person.submit(url, { ...fields, code: authenticator.code(-1) });
  assert.match(done.page, /It has been added/);
  return authenticator;
}

/** A person with an authenticator app, who is not logged in in this browser. */
export async function personWithApp(gatehouse: Gatehouse, options: PersonOptions = {}) {
  const account = await newAccount(gatehouse);
  const authenticator = await enrolAuthenticator(gatehouse, new Person(gatehouse, { ...options, account }));
  const person = new Person(gatehouse, { ...options, account, code: () => authenticator.code() });
  return { account, authenticator, person };
}

/** Gives the password; stops at the page of the second step. `person` must have no code. */
export async function reachSecondStep(
  gatehouse: Pick<Gatehouse, 'issuer'>,
  person: Person,
  url = `${gatehouse.issuer}/account/login`,
): Promise<{ readonly arrival: Arrival; readonly action: URL }> {
  const opened = await person.open(url);
  const arrival = await person.finish(opened);
  const [, action] = /action="([^"]*\/second-step)"/.exec(arrival.page) ?? [];
  return { arrival, action: new URL(action ?? `${arrival.url}/second-step`, gatehouse.issuer) };
}
