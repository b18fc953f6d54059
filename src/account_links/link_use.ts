/**
 * What the links do when they are used. Each function runs in one transaction: it locks the account, uses the link in
 * one statement, and makes the change, or throws `LinkUnusable` and changes nothing.
 */
import { lockAccountIfAny, updateAccount, type Account } from '../accounts/account.ts';
import { endAccess } from '../accounts/end_access.ts';
import { endOtherSessions } from '../accounts/sessions.ts';
import {
  endLinksOfChange,
  endLaterLinks,
  PASSWORD_LINKS,
  takeLink,
  type AccountLink,
  type CredentialsBefore,
  type LinkKind,
  type ReportedChange,
} from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader } from '../db/connection.ts';
import type { OpenLinks } from './link_sender.ts';
import type { OpenNotices } from './notices.ts';

/** The link was used, has expired, was ended, or its account may not be used. */
export class LinkUnusable extends Error {}

/** What the next login needs besides a new password: the `password` that the account had before, or another `factor`. */
export type NextLogin = 'password' | 'factor' | undefined;

/** Disables a credential of an account after its owner reported that they had not changed it. */
export type DisableCredential = (work: UnitOfWork, account: Account, change: ReportedChange) => Promise<NextLogin>;

/** Takes back what happened to the credentials of a locked account since then. */
export type UndoLaterChanges = (work: UnitOfWork, account: Account, before: CredentialsBefore) => Promise<void>;

/** What a report did, and how the person gets in afterwards. */
export type ReportOutcome = 'report' | 'report-first-factor' | 'report-needs-factor' | 'report-without-reset';

/** By the name of the credential in `ReportedChange`. */
export type Disablers = Readonly<Record<string, DisableCredential>>;

/** A link as a page knows it, before it is used. */
export interface PresentedLink {
  readonly accountId: string;
  readonly value: string;
}

/** Sets the password. All sessions end; the person logs in afterwards, with a second factor if the account has one. */
export async function setPassword(
  work: UnitOfWork,
  notices: OpenNotices,
  presented: PresentedLink,
  password_hash: string,
): Promise<void> {
  const { account, link } = await use(work, presented, PASSWORD_LINKS);
  // an address that changed since would let the holder of the old mailbox in
  if (link.sentTo !== null && link.sentTo !== account.email) throw new LinkUnusable();
  const proved = link.sentTo !== null && !account.emailVerified && { email_verified: true };
  const changed = await updateAccount(work, account, { password_hash, ...proved });
  await notices.passwordChanged(work, changed);
}

/** Reads what a locked account has. */
export type ReadCredentials = (reader: Reader, account: Account) => Promise<CredentialsBefore>;

/** Gives the account the address that the link proves. All sessions end but `keptSession`, the one that proves it. */
export async function changeEmail(
  work: UnitOfWork,
  { notices, read }: { readonly notices: OpenNotices; readonly read: ReadCredentials },
  presented: PresentedLink,
  keptSession: string,
): Promise<void> {
  const { account, link } = await use(work, presented, ['email_change']);
  const before = await read(work.tx, account);
  await updateAccount(work, account, { email: link.email!, email_verified: true });
  await endOtherSessions(work, account.accountId, keptSession);
  await notices.emailChanged(work, account, before);
}

/**
 * Gives the account its former address back, ends all access, takes back what happened to its factors since, and starts
 * a reset of the password.
 */
export async function takeEmailBack(
  work: UnitOfWork,
  { links, undo }: { readonly links: OpenLinks; readonly undo: UndoLaterChanges },
  presented: PresentedLink,
): Promise<void> {
  const { account, link } = await use(work, presented, ['email_way_back']);
  const changes = { email: link.email!, email_verified: true, password_hash: null };
  const restored = await updateAccount(work, account, changes);
  // an attacker may hold the later ones; an earlier one belongs to an address before this one
  await endLaterLinks(work.tx, link);
  if (link.change?.before) await undo(work, restored, link.change.before);
  await links.sendReset(work, restored);
}

/**
 * Ends all access, disables the credential that was changed, and starts a reset of the password. If the person can only
 * log in with the password that they have, no reset begins.
 */
export async function reportChange(
  work: UnitOfWork,
  { links, disablers }: { readonly links: OpenLinks; readonly disablers: Disablers },
  presented: PresentedLink,
): Promise<ReportOutcome> {
  const { account, link } = await use(work, presented, ['report']);
  const { credential, reference } = link.change!;
  await endAccess(work, account.accountId);
  await endLinksOfChange(work.tx, account.accountId);
  const needs = await disablers[credential]?.(work, account, link.change!);
  const details = { credential, ...(reference !== undefined && { reference }), ...(needs && { needs }) };
  const { accountId } = account;
  await work.trail.recordIn(work.tx, work.origin, {
    event: 'account.change_reported',
    outcome: 'success',
    accountId,
    details,
  });
  // if the address was changed too, the mail about that has the way back
  if (link.sentTo !== account.email) return 'report-without-reset';
  if (needs === 'password') return 'report-first-factor';
  await links.sendReset(work, account);
  return needs === 'factor' ? 'report-needs-factor' : 'report';
}

/** The credential of this folder. */
export const disablePassword: DisableCredential = async (work, account) => {
  if (account.passwordHash !== null) await updateAccount(work, account, { password_hash: null });
  return undefined;
};

async function use(
  work: UnitOfWork,
  { accountId, value }: PresentedLink,
  kinds: readonly LinkKind[],
): Promise<{ readonly account: Account; readonly link: AccountLink }> {
  // in the order of all other changes: the account, then its links
  const account = await lockAccountIfAny(work.tx, accountId);
  const link = await takeLink(work, value);
  if (!account || account.disabledAt || link?.accountId !== accountId || !kinds.includes(link.kind))
    throw new LinkUnusable();
  return { account, link };
}
