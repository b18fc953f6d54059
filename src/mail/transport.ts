/** Sends one mail in one of the ways of `MailTarget`. */
import { rename, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isLoopback } from '../base/loopback.ts';
import type { MailTarget } from '../base/mail_target.ts';
import { DevelopmentMails } from './development_mails.ts';
import type { ReadyMail } from './ready_mail.ts';

/** Throws if the mail was not accepted. nodemailer is loaded with the first mail, because most processes send none. */
export type Transport = (mail: ReadyMail) => Promise<void>;

/** Each step of a delivery. Together they stay within the time for one attempt (mail_delivery.ts). */
const STEP_MILLISECONDS = { dnsTimeout: 2_000, connectionTimeout: 3_000, greetingTimeout: 3_000, socketTimeout: 5_000 };

/** A program wrote this mail; it needs no answer of another program (RFC 3834, 5). */
const HEADERS = { 'Auto-Submitted': 'auto-generated' };

export function createTransport(target: MailTarget): Transport {
  switch (target.kind) {
    case 'smtp':
      return smtpTransport(target.url);
    case 'folder':
      return folderTransport(target.folder);
    case 'development': {
      const mails = new DevelopmentMails(target.folder);
      return (mail) => mails.show(mail);
    }
  }
}

/**
 * `smtp:` begins in plain text and must change to TLS (STARTTLS), unless the server is on this machine or the URL ends
 * in `?starttls=never`. `smtps:` begins with TLS.
 */
function smtpTransport(url: string): Transport {
  const { protocol, hostname, port, username, password, searchParams } = new URL(url);
  const secure = protocol === 'smtps:';
  const isPlain = searchParams.get('starttls') === 'never';
  const settings = {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (secure ? 465 : 587) : Number(port),
    secure,
    requireTLS: !secure && !isPlain && !isLoopback(hostname),
    ignoreTLS: isPlain,
    ...(username !== '' && { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }),
    ...STEP_MILLISECONDS,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
  return async (mail) => {
    const { createTransport: open } = await import('nodemailer');
    await open(settings).sendMail({ ...mail, headers: HEADERS });
  };
}

/** Writes each mail as a file `<message id>.eml`, which appears when it is complete. */
function folderTransport(folder: string): Transport {
  return async (mail) => {
    const { createTransport: open } = await import('nodemailer');
    const composer = open({ streamTransport: true, buffer: true, newline: 'unix' });
    const { message } = await composer.sendMail({ ...mail, headers: HEADERS });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = join(folder, `${mail.messageId.replaceAll(/[^\w-]+/g, '_')}.eml`);
    await writeFile(`${file}.new`, message as Buffer, { mode: 0o600 });
    await rename(`${file}.new`, file);
  };
}
