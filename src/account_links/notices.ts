/**
 * Mails that tell people of a change of their password, address or another credential, so that they notice a change
 * that was not theirs. Without mail, no notice is made.
 */
import type { Account } from '../accounts/account.ts';
import type { CredentialsBefore, ReportedChange } from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { LinkSender } from './link_sender.ts';
import { credentialChanged, emailChanged, passwordChanged, type Circumstances } from './mail_texts.ts';

/** Stores notices in transactions that begin after `Notices.open`. */
export interface OpenNotices {
  passwordChanged(work: UnitOfWork, account: Account): Promise<void>;
  /**
   * Tells the old address, that of `account`. If the person made the change, the mail has a way back to what the account
   * had before.
   */
  emailChanged(work: UnitOfWork, account: Account, before: CredentialsBefore | 'by an admin'): Promise<void>;
  /** `what` is a sentence, such as ‘A passkey was added to your account.’ `change` names what a report disables. */
  credentialChanged(work: UnitOfWork, account: Account, what: string, change: ReportedChange): Promise<void>;
}

export class Notices {
  readonly #links: LinkSender;

  constructor(links: LinkSender) {
    this.#links = links;
  }

  /** Reads what sealing needs, before the transaction begins. */
  async open(now: Date): Promise<OpenNotices> {
    const { sendsMail, sender } = this.#links;
    if (!sendsMail) return NO_NOTICES;
    const links = await this.#links.open(now);
    const report = (work: UnitOfWork, { accountId, email }: Account, change: ReportedChange, content: Written) =>
      links.send(work, { accountId, kind: 'report', sentTo: email, change }, (link) =>
        content(circumstancesOf(work), link),
      );
    return {
      passwordChanged: (work, account) =>
        report(work, account, { credential: 'password' }, (circumstances, link) =>
          passwordChanged(sender, circumstances, link),
        ),
      credentialChanged: (work, account, what, change) =>
        report(work, account, change, (circumstances, link) => credentialChanged(sender, what, circumstances, link)),
      emailChanged: (work, { accountId, email }, before) =>
        before === 'by an admin'
          ? links.tell(work, { accountId, to: email, content: emailChanged(sender, circumstancesOf(work), undefined) })
          : links.send(
              work,
              { accountId, kind: 'email_way_back', sentTo: email, email, change: { credential: 'email', before } },
              (link) => emailChanged(sender, circumstancesOf(work), link),
            ),
    };
  }
}

type Written = (circumstances: Circumstances, link: string) => ReturnType<typeof passwordChanged>;

export const NO_NOTICES: OpenNotices = {
  passwordChanged: () => Promise.resolve(),
  emailChanged: () => Promise.resolve(),
  credentialChanged: () => Promise.resolve(),
};

/** Admins call the admin API as clients. */
function circumstancesOf({ origin, now }: UnitOfWork): Circumstances {
  return { at: now, address: origin.actor.type === 'client' ? undefined : origin.address };
}
