/**
 * Puts mails into the outbox, in the transaction of their cause. Their text is sealed there, because it may have a
 * one-time link.
 */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { Secret } from '../base/secret.ts';
import { enqueue, openSealer } from '../outbox/message.ts';
import type { Vault } from '../vault/vault.ts';
import { writeMail, type MailContent } from './mail_layout.ts';

/** The name of the outbox's type of messages. */
export const MAIL = 'mail';

export interface Mail {
  /** The account that the mail is about. Each account gets one mail at a time. */
  readonly accountId: string;
  readonly to: string;
  readonly content: MailContent;
  /** The time from which the mail is of no use. */
  readonly expiresAt: Date;
}

/** Stores mails in a transaction that begins after `Mailer.open`. */
export type StoreMail = (work: Pick<UnitOfWork, 'tx' | 'now'>, mail: Mail) => Promise<void>;

export interface MailerSettings {
  readonly issuer: string;
  readonly vault: Vault;
  /** Whether the server can send mails. If not, they are dropped. */
  readonly isConfigured: boolean;
}

export class Mailer {
  readonly #settings: MailerSettings;

  constructor(settings: MailerSettings) {
    this.#settings = settings;
  }

  get isConfigured(): boolean {
    return this.#settings.isConfigured;
  }

  /** Reads the key that seals mails, before the transaction begins. */
  async open(now: Date): Promise<StoreMail> {
    const { issuer, vault, isConfigured } = this.#settings;
    if (!isConfigured) return () => Promise.resolve();
    const seal = await openSealer(vault, now);
    const { host } = new URL(issuer);
    return async ({ tx, now: storedAt }, { accountId, to, content, expiresAt }) => {
      const sealed = seal(new Secret(JSON.stringify({ to, ...writeMail(content, host) })));
      const message = { kind: MAIL, clientId: accountId, payload: { account_id: accountId }, sealed, expiresAt };
      await enqueue(tx, [message], storedAt);
    };
  }
}
