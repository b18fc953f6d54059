/**
 * The texts of all mails. None has a name or another text that a stranger could choose, because a mail of this server
 * must not carry a stranger's message.
 */
import type { MailContent } from '../mail/mail_layout.ts';

/** The service that a mail comes from, and what a person may do with it. */
export interface Sender {
  /** The host of the service. */
  readonly host: string;
}

/** Where and when something was changed, and by whom. */
export interface Circumstances {
  readonly at: Date;
  /** The IP address of the person's browser; `undefined` if an admin made the change. */
  readonly address: string | undefined;
}

const IGNORE = 'If you did not expect this mail, do nothing: nothing has been changed.';

export function invitation({ host }: Sender, link: string, expiresAt: Date): MailContent {
  return {
    subject: `Your account at ${host}`,
    paragraphs: [`An account was made for you at ${host}. Choose a password to use it.`],
    action: { text: 'Choose a password', href: link },
    closing: [`The link works once, until ${moment(expiresAt)}.`, 'If you did not expect this mail, do nothing.'],
  };
}

export function passwordReset({ host }: Sender, link: string, expiresAt: Date): MailContent {
  return {
    subject: `A new password for ${host}`,
    paragraphs: [`Somebody asked for a new password for your account at ${host}. If it was you, choose it now.`],
    action: { text: 'Choose a new password', href: link },
    closing: [`The link works once, until ${moment(expiresAt)}.`, IGNORE],
  };
}

/** `link` works longer than one that a person asked for: they have no password meanwhile. */
export function resetAfterReport({ host }: Sender, link: string, expiresAt: Date): MailContent {
  return {
    subject: `A new password for ${host}`,
    paragraphs: [
      `A link in one of our mails was used to report or take back a change of your account at ${host}. The account was logged out everywhere. Choose a new password to use it again.`,
    ],
    action: { text: 'Choose a new password', href: link },
    closing: [
      `The link works once, until ${moment(expiresAt)}. Until then you can also ask for another one: at the login, follow ‘Forgot password?’.`,
    ],
  };
}

export function passwordChanged({ host }: Sender, circumstances: Circumstances, link: string): MailContent {
  return {
    subject: `Your password for ${host} was changed`,
    paragraphs: [
      `The password of your account at ${host} was changed ${describe(circumstances)}.`,
      'If it was you, there is nothing to do.',
    ],
    action: { text: 'This wasn’t me', href: link },
    closing: [
      'The link leads to a page that logs your account out everywhere, ends the new password, and sends you a mail to choose another one.',
    ],
  };
}

/** `what` is a sentence, such as ‘A passkey was added to your account.’ */
export function credentialChanged(
  { host }: Sender,
  what: string,
  circumstances: Circumstances,
  link: string,
): MailContent {
  return {
    subject: `Your login at ${host} was changed`,
    paragraphs: [what, `It was done at ${host} ${describe(circumstances)}. If it was you, there is nothing to do.`],
    action: { text: 'This wasn’t me', href: link },
    closing: [
      'The link leads to a page that logs your account out everywhere, undoes the change where that is possible, and says how you log in afterwards.',
    ],
  };
}

const REPORT_OF_A_LOGIN =
  'The link leads to a page that logs your account out everywhere, ends what was used to log in, and sends you a mail to choose another password.';

export function loggedInAtNewPlace({ host }: Sender, circumstances: Circumstances, link: string): MailContent {
  return {
    subject: `A new login to your account at ${host}`,
    paragraphs: [
      `Somebody logged in to your account at ${host} ${describe(circumstances)}, with a browser and a network that were not used for it lately.`,
      'If it was you, there is nothing to do.',
    ],
    action: { text: 'This wasn’t me', href: link },
    closing: [REPORT_OF_A_LOGIN],
  };
}

export function secondStepFailed({ host }: Sender, circumstances: Circumstances, link: string): MailContent {
  return {
    subject: `Somebody may know your password for ${host}`,
    paragraphs: [
      `Somebody gave the right password of your account at ${host} ${describe(circumstances)}, and failed at the second step. They are not logged in.`,
      'If it was you, there is nothing to do.',
    ],
    action: { text: 'This wasn’t me', href: link },
    closing: [REPORT_OF_A_LOGIN],
  };
}

export function emailProof({ host }: Sender, link: string, expiresAt: Date): MailContent {
  return {
    subject: `Confirm your e-mail address for ${host}`,
    paragraphs: [`Somebody wants to use this e-mail address for an account at ${host}. If it was you, confirm it.`],
    action: { text: 'Confirm the address', href: link },
    closing: [`The link works once, until ${moment(expiresAt)}, in the browser in which you are logged in.`, IGNORE],
  };
}

export function emailTaken({ host }: Sender): MailContent {
  return {
    subject: `Your e-mail address at ${host}`,
    paragraphs: [
      `Somebody wants to use this e-mail address for another account at ${host}. It has an account already, so nothing has been changed.`,
      'If it was you, log in with this address instead.',
    ],
  };
}

/** For the old address. `link` is the way back; `undefined` if an admin changed the address. */
export function emailChanged({ host }: Sender, circumstances: Circumstances, link: string | undefined): MailContent {
  return {
    subject: `Your e-mail address at ${host} was changed`,
    paragraphs: [
      `Your account at ${host} has another e-mail address. It was changed ${describe(circumstances)}.`,
      link === undefined
        ? 'If you did not expect this, ask the people who run the service.'
        : 'If it was you, there is nothing to do.',
    ],
    ...(link !== undefined && {
      action: { text: 'This wasn’t me', href: link },
      closing: [
        'The link leads to a page that brings this address back, logs your account out everywhere, removes passkeys, apps and recovery codes that were added since, ends its password, and sends you a mail to choose another one. It works for 7 days.',
      ],
    }),
  };
}

function describe({ at, address }: Circumstances): string {
  return `on ${moment(at)}${address === undefined ? ' by an administrator' : ` from the IP address ${address}`}`;
}

const format = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });

function moment(time: Date): string {
  return `${format.format(time)} UTC`;
}
