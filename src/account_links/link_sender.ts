/** Makes one-time links and puts the mails with them into the outbox, in the transaction of their cause. */
import type { Account } from '../accounts/account.ts';
import { createLink, endLinks, PASSWORD_LINKS, type LinkKind, type NewLink } from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Secret } from '../base/secret.ts';
import type { MailContent } from '../mail/mail_layout.ts';
import type { Mailer, StoreMail } from '../mail/mailer.ts';
import { invitation, passwordReset, resetAfterReport, type Sender } from './mail_texts.ts';

/** How long a link works, in seconds. */
export const LINK_SECONDS: Readonly<Record<LinkKind, number>> = {
  first_password: 7 * DAY_SECONDS,
  reset: 3_600,
  email_change: 3_600,
  email_way_back: 7 * DAY_SECONDS,
  report: 7 * DAY_SECONDS,
};
/** A person who reported a change has no password, so nothing is won by a shorter time. */
const RESET_AFTER_REPORT_SECONDS = 7 * DAY_SECONDS;

/** Links that lead to a password. */
export type PasswordLinkKind = 'first_password' | 'reset';

export interface MadeLink {
  readonly linkId: string;
  readonly expiresAt: Date;
  /** The address that it was sent to; null if the server sends no mails. */
  readonly sentTo: string | null;
  /** The link itself, if it was not sent. */
  readonly url: Secret | undefined;
}

type Content = (link: string, expiresAt: Date) => MailContent;
type SentLink = Omit<NewLink, 'expiresAt'> & { readonly sentTo: string };

/** Makes links in transactions that begin after `LinkMaker.open`. */
export interface OpenLinks {
  /** Makes a link and its mail. */
  send(work: UnitOfWork, link: SentLink, content: Content): Promise<void>;
  /** Sends a mail without a link. */
  tell(work: UnitOfWork, mail: { accountId: string; to: string; content: MailContent }): Promise<void>;
  /** Makes a link to a password for an admin; it ends the earlier ones. */
  makePasswordLink(
    work: UnitOfWork,
    account: Account,
    wanted: { readonly kind: PasswordLinkKind; readonly seconds?: number | undefined },
  ): Promise<MadeLink>;
  /** Sends a link to a new password to a person whose report, or way back, has ended the account's access. */
  sendReset(work: UnitOfWork, account: Pick<Account, 'accountId' | 'email'>): Promise<void>;
  /** Sends the link that a person asked for. Earlier ones stay, so that a stranger who asks can not end them. */
  sendRequestedReset(work: UnitOfWork, account: Pick<Account, 'accountId' | 'email'>): Promise<void>;
}

export class LinkSender {
  readonly #issuer: string;
  readonly #mailer: Mailer;
  readonly sender: Sender;

  constructor({ issuer, mailer }: { readonly issuer: string; readonly mailer: Mailer }) {
    this.#issuer = issuer;
    this.#mailer = mailer;
    this.sender = { host: new URL(issuer).host };
  }

  /** Whether the server can send links. */
  get sendsMail(): boolean {
    return this.#mailer.isConfigured;
  }

  /** Reads what sealing needs, before the transaction begins. */
  async open(now: Date): Promise<OpenLinks> {
    const storeMail = await this.#mailer.open(now);
    const sendFor = async (seconds: number, work: UnitOfWork, link: SentLink, content: Content): Promise<void> => {
      const expiresAt = addSeconds(work.now, seconds);
      const { value } = await createLink(work, { ...link, expiresAt });
      await this.#mail(storeMail, work, { ...link, expiresAt, value }, content);
    };
    return {
      send: (work, link, content) => sendFor(LINK_SECONDS[link.kind], work, link, content),
      tell: (work, mail) => storeMail(work, { ...mail, expiresAt: addSeconds(work.now, DAY_SECONDS) }),
      sendReset: (work, { accountId, email }) =>
        sendFor(RESET_AFTER_REPORT_SECONDS, work, { accountId, kind: 'reset', sentTo: email }, (link, until) =>
          resetAfterReport(this.sender, link, until),
        ),
      sendRequestedReset: (work, { accountId, email }) =>
        sendFor(LINK_SECONDS.reset, work, { accountId, kind: 'reset', sentTo: email }, (link, until) =>
          passwordReset(this.sender, link, until),
        ),
      makePasswordLink: async (work, { accountId, email }, { kind, seconds = LINK_SECONDS[kind] }) => {
        await endLinks(work.tx, accountId, PASSWORD_LINKS);
        const sentTo = this.sendsMail ? email : null;
        const expiresAt = addSeconds(work.now, seconds);
        const { linkId, value } = await createLink(work, { accountId, kind, sentTo, expiresAt });
        if (sentTo === null) return { linkId, expiresAt, sentTo, url: value.map((text) => this.#urlOf(text)) };
        const write = kind === 'reset' ? passwordReset : invitation;
        const content: Content = (link, until) => write(this.sender, link, until);
        await this.#mail(storeMail, work, { accountId, sentTo, expiresAt, value }, content);
        return { linkId, expiresAt, sentTo, url: undefined };
      },
    };
  }

  async #mail(
    storeMail: StoreMail,
    work: UnitOfWork,
    { accountId, sentTo, expiresAt, value }: { accountId: string; sentTo: string; expiresAt: Date; value: Secret },
    content: Content,
  ): Promise<void> {
    const mail = { accountId, to: sentTo, content: content(this.#urlOf(value.reveal()), expiresAt), expiresAt };
    await storeMail(work, mail);
  }

  #urlOf(value: string): string {
    return `${this.#issuer}/link/${value}`;
  }
}
