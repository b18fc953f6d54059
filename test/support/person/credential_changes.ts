/** How people change their address, their recovery codes and their password on our pages. */
import assert from 'node:assert/strict';
import type { MailServer } from '../network/mail_server.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import { hiddenField } from './authenticator.ts';
import { LinkVisitor, wordsOf } from './link_visitor.ts';
import type { Arrival, Person } from './person.ts';

const RECOVERY_CODE = /[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){5}/g;

/** Changes the address, and proves the new one. */
export async function moveTo(
  gatehouse: Gatehouse,
  mailServer: MailServer,
  person: Person,
  address: string,
): Promise<void> {
  await sendForm(gatehouse, person, '/account/email', { new_email: address });
  const { links } = await mailServer.next(address, /Confirm your e-mail address/);
  const visitor = new LinkVisitor(gatehouse, person);
  assert.match(wordsOf(await visitor.send(await visitor.open(links[0]!))), /new e-mail address/);
}

/** Makes recovery codes, and returns them. */
export async function makeRecoveryCodes(gatehouse: Gatehouse, person: Person): Promise<readonly string[]> {
  const { page } = await sendForm(gatehouse, person, '/account/recovery-codes', {});
  const codes = [...page.matchAll(RECOVERY_CODE)].map(([code]) => code);
  assert.equal(codes.length, 10);
  return codes;
}

export async function changePassword(gatehouse: Gatehouse, person: Person, new_password: string): Promise<void> {
  const { page } = await sendForm(gatehouse, person, '/account/password', { new_password });
  assert.match(page, /Your password has been changed/);
}

/** Logs in where that is needed, and sends the form of a page. */
async function sendForm(
  { issuer }: Gatehouse,
  person: Person,
  path: string,
  fields: Readonly<Record<string, string>>,
): Promise<Arrival> {
  const url = `${issuer}${path}`;
  const { page } = await person.walk(url);
  return person.submit(url, { form_token: hiddenField(page, 'form_token'), ...fields });
}
