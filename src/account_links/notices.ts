/**
 * Mails that tell people of a change of their password, address or another credential, and of logins at a new place, so
 * that they notice what was not theirs. Without mail, no notice is made.
 */
import type { Account } from '../accounts/account.ts';
import type { CredentialsBefore, ReportedChange } from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { LinkSender } from './link_sender.ts';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { sha256 } from '../base/secret.ts';
import {
  credentialChanged,
  emailChanged,
  loggedInAtNewPlace,
  passwordChanged,
  secondStepFailed,
  type Circumstances,
} from './mail_texts.ts';

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
  /** `proof` names what a report of the login disables. */
  loggedInAtNewPlace(work: UnitOfWork, account: Account, proof: ReportedChange): Promise<void>;
  /** Tells of a right password whose sender failed at the second step. Sends one mail a day. */
  secondStepFailed(work: UnitOfWork, account: Account): Promise<void>;
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
        content(circumstancesOf(work, accountId), link),
      );
    return {
      passwordChanged: (work, account) =>
        report(work, account, { credential: 'password' }, (circumstances, link) =>
          passwordChanged(sender, circumstances, link),
        ),
      credentialChanged: (work, account, what, change) =>
        report(work, account, change, (circumstances, link) => credentialChanged(sender, what, circumstances, link)),
      loggedInAtNewPlace: (work, account, proof) =>
        report(work, account, proof, (circumstances, link) => loggedInAtNewPlace(sender, circumstances, link)),
      secondStepFailed: async (work, account) => {
        if (!(await isFirstOfDay(work, account))) return;
        await report(work, account, { credential: 'password' }, (circumstances, link) =>
          secondStepFailed(sender, circumstances, link),
        );
      },
      emailChanged: (work, { accountId, email }, before) =>
        before === 'by an admin'
          ? links.tell(work, {
              accountId,
              to: email,
              content: emailChanged(sender, circumstancesOf(work, accountId), undefined),
            })
          : links.send(
              work,
              { accountId, kind: 'email_way_back', sentTo: email, email, change: { credential: 'email', before } },
              (link) => emailChanged(sender, circumstancesOf(work, accountId), link),
            ),
    };
  }
}

type Written = (circumstances: Circumstances, link: string) => ReturnType<typeof passwordChanged>;

export const NO_NOTICES: OpenNotices = {
  passwordChanged: () => Promise.resolve(),
  emailChanged: () => Promise.resolve(),
  credentialChanged: () => Promise.resolve(),
  loggedInAtNewPlace: () => Promise.resolve(),
  secondStepFailed: () => Promise.resolve(),
};

/** Whether no other failed second step of the account was told of on this day (UTC). */
async function isFirstOfDay({ tx, now }: UnitOfWork, { accountId }: Account): Promise<boolean> {
  const day = now.toISOString().slice(0, 10);
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('used_once')
    .values({
      purpose: 'second_step_notice',
      digest: sha256(`${accountId} ${day}`),
      expires_at: addSeconds(now, DAY_SECONDS),
    })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** Admins call the admin API as clients or as other people; a person who uses a link may be logged out. */
function circumstancesOf({ origin: { actor, address }, now }: UnitOfWork, accountId: string): Circumstances {
  const isOwner = actor.type === 'anonymous' || (actor.type === 'account' && actor.id === accountId);
  return { at: now, address: isOwner ? address : undefined };
}
