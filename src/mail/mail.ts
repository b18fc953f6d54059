/** Mails to people: written in the transaction of their cause, delivered by the outbox. */
import type { MailTarget } from '../base/mail_target.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { Vault } from '../vault/vault.ts';
import { DevelopmentMails } from './development_mails.ts';
import { mailDelivery } from './mail_delivery.ts';
import { Mailer } from './mailer.ts';
import { createTransport } from './transport.ts';

export interface MailSettings {
  readonly issuer: string;
  /** `undefined`: the server sends no mails. */
  readonly mail: MailTarget | undefined;
  readonly vault: Vault;
  readonly outbox: Pick<Outbox, 'serve'>;
}

export function createMail({ issuer, mail, vault, outbox }: MailSettings): {
  readonly mailer: Mailer;
  /** The mails of a development server, which a page shows. */
  readonly developmentMails: DevelopmentMails | undefined;
} {
  if (mail) outbox.serve(mailDelivery({ issuer, from: mail.from, transport: createTransport(mail) }));
  return {
    mailer: new Mailer({ issuer, vault, isConfigured: mail !== undefined }),
    developmentMails: mail?.kind === 'development' ? new DevelopmentMails(mail.folder) : undefined,
  };
}
