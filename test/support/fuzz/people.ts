/** People at the points from which requests reach the code behind the front door. They have accounts of their own. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { Application } from '../client/application.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import { enrolAuthenticator, newAccount, type Authenticator, type TestAccount } from '../person/authenticator.ts';
import { Person, type Arrival } from '../person/person.ts';
import { addPasskey, logInWithPasskey, SoftwareAuthenticator } from '../person/software_authenticator.ts';
import { formsOf, valuesOf, type Form, type Forms } from '../person/forms.ts';

export interface Browser {
  /** As a browser sends them. */
  readonly cookies: string;
  /** The id of a login that was begun in this browser. */
  readonly interaction: string;
  /** The forms of the pages that this browser was at. */
  readonly forms: Forms;
  /** Answers the options of passkeys. */
  readonly passkey?: SoftwareAuthenticator;
  /** Gives a code that is right now. */
  readonly authenticator?: Authenticator;
}

const ACCOUNT_PAGES = [
  '/account',
  '/account/devices',
  '/account/applications',
  '/account/data',
  '/account/password',
  '/account/email',
  '/account/authenticator',
  '/account/passkeys',
  '/account/recovery-codes',
  '/account/remembered-devices',
];

/** The demo person, logged in, and in the middle of another login. */
export async function demoBrowser(gatehouse: Gatehouse, application: Application): Promise<Browser> {
  const person = new Person(gatehouse);
  await person.authorize(application.authorizationUrl());
  const { url, page } = await person.open(application.authorizationUrl({ prompt: 'login' }));
  return { cookies: cookiesOf(person), interaction: idOf(url), forms: formsOf(page, url) };
}

/** A person with all factors, logged in with the strongest, who has all pages of the account and a second step open. */
export async function ownerBrowser(
  gatehouse: Gatehouse,
  application: Application,
): Promise<Browser & { readonly account: TestAccount }> {
  const account = await newAccount(gatehouse);
  const passkey = new SoftwareAuthenticator(gatehouse.issuer);
  const apps: Authenticator[] = [];
  const person = new Person(gatehouse, { account, code: () => apps[0]!.code() });
  await person.authorize(application.authorizationUrl());
  apps.push(await enrolAuthenticator(gatehouse, person));
  await addPasskey(gatehouse, person, passkey);
  await makeRecoveryCodes(gatehouse, person, passkey);
  const forms = new Map<string, readonly Form[]>();
  const keep = ({ page, url }: Arrival): void => formsOf(page, url).forEach((form, path) => forms.set(path, form));
  for (const path of ACCOUNT_PAGES) keep(await person.open(gatehouse.issuer + path));
  const login = await person.open(application.authorizationUrl({ prompt: 'login' }));
  const { email, password } = account;
  keep(await person.submit(`${login.url}/login`, { email, password }));
  const [authenticator] = apps;
  return {
    account,
    cookies: cookiesOf(person),
    interaction: idOf(login.url),
    forms,
    passkey,
    authenticator: authenticator!,
  };
}

/** A person who has opened a link to a new password, which the development server shows on a page. */
export async function linkBrowser(
  gatehouse: Gatehouse,
  application: Application,
  { email }: TestAccount,
): Promise<Browser> {
  const person = new Person(gatehouse);
  const { url } = await person.open(application.authorizationUrl());
  await person.submit(`${gatehouse.issuer}/forgot-password`, { email });
  const opened = await person.open(await resetLink(gatehouse, email));
  return { cookies: cookiesOf(person), interaction: idOf(url), forms: formsOf(opened.page, opened.url) };
}

/** Leads to the page of recovery codes, which makes the first ones. */
async function makeRecoveryCodes(gatehouse: Gatehouse, person: Person, passkey: SoftwareAuthenticator): Promise<void> {
  const url = `${gatehouse.issuer}/account/recovery-codes`;
  const reached = await logInWithPasskey(person, passkey, `${url}?login=again`);
  const [codes] = formsOf(reached.page, reached.url).get('/account/recovery-codes') ?? [];
  const made = await person.submit(url, valuesOf(codes));
  assert.equal(made.response.status, 200);
}

async function resetLink({ issuer }: Gatehouse, email: string): Promise<string> {
  for (let tries = 0; tries < 100; tries++) {
    const page = await (await fetch(`${issuer}/mails`)).text();
    const mail = page.split('<section').find((one) => one.includes(email) && one.includes('A new password'));
    const link = /href="([^"]*\/link\/[\w-]{43})"/.exec(mail ?? '')?.[1];
    if (link !== undefined) return link;
    await delay(100);
  }
  throw new Error(`No mail for ${email} has a link.`);
}

function cookiesOf({ cookies }: Person): string {
  return [...cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
}

function idOf(url: string): string {
  return new URL(url).pathname.split('/').at(-1)!;
}
