/**
 * One-time links of accounts, as rows. A link has a random value of 256 bits, of which only the digest is stored; it is
 * bound to an account and a kind, and expires. One statement uses it, so of two uses at once one succeeds.
 */
import { randomBytes } from 'node:crypto';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { randomId } from '../base/ids.ts';
import { Secret, sha256 } from '../base/secret.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';

/** `first_password` is an invitation; `email_way_back` takes back a change of address; `report` disowns a change. */
export type LinkKind = 'first_password' | 'reset' | 'email_change' | 'email_way_back' | 'report';

/** The change that a person reports as not theirs. `credential` names the kind of what changed, such as `password`. */
export interface ReportedChange {
  readonly credential: string;
  /** Which one of them, such as the id of a passkey. */
  readonly reference?: string | undefined;
  /** For a change of a factor or of the address: what the account had before it. */
  readonly before?: CredentialsBefore | undefined;
}

export interface CredentialsBefore {
  /** The references of its factors besides the password. */
  readonly factors: readonly string[];
  /** The digest of its password, if a login needed nothing else; otherwise `null`. */
  readonly password: string | null;
}

export interface AccountLink {
  readonly linkId: string;
  readonly accountId: string;
  readonly kind: LinkKind;
  readonly email: string | null;
  readonly sentTo: string | null;
  readonly change: ReportedChange | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

export interface NewLink extends Pick<AccountLink, 'accountId' | 'kind' | 'sentTo' | 'expiresAt'> {
  readonly email?: string;
  readonly change?: ReportedChange;
}

/** Links with which a person gets a password. A new password or address ends them, and so does the use of one. */
export const PASSWORD_LINKS: readonly LinkKind[] = ['first_password', 'reset'];
/**
 * These end in the same cases. The ways back are not among them: an attacker who changed the address or the password
 * must not be able to end them.
 */
export const ENDED_BY_CHANGES: readonly LinkKind[] = [...PASSWORD_LINKS, 'email_change'];

const VALUE_BYTES = 32;
/** The form of a value, base64url. */
export const LINK_VALUE = /^[\w-]{43}$/;

/** Stores a link and its audit event. The returned value exists nowhere else. */
export async function createLink(
  { tx, trail, origin, now }: UnitOfWork,
  { accountId, kind, sentTo, expiresAt, email, change }: NewLink,
): Promise<{ readonly linkId: string; readonly value: Secret }> {
  const linkId = randomId('link');
  const value = randomBytes(VALUE_BYTES).toString('base64url');
  await tx
    .insertInto('account_links')
    .values({
      link_id: linkId,
      digest: sha256(value),
      account_id: accountId,
      kind,
      email: email ?? null,
      sent_to: sentTo,
      change: change === undefined ? null : json({ ...change }),
      created_at: now,
      expires_at: expiresAt,
    })
    .execute();
  const details = { link_id: linkId, kind, sent: sentTo !== null, expires_at: expiresAt.toISOString() };
  await trail.recordIn(tx, origin, { event: 'account.link_created', outcome: 'success', accountId, details });
  return { linkId, value: new Secret(value) };
}

/** Finds a link that may be used, without using it. */
export async function findLink(reader: Reader, value: string, now: Date): Promise<AccountLink | undefined> {
  const row = await reader
    .selectFrom('account_links')
    .selectAll()
    .where('digest', '=', sha256(value))
    .where('expires_at', '>', now)
    .executeTakeFirst();
  return row && toLink(row);
}

/** Uses a link: of all who try, one gets it. Records the use. */
export async function takeLink(
  { tx, trail, origin, now }: UnitOfWork,
  value: string,
): Promise<AccountLink | undefined> {
  const row = await tx
    .deleteFrom('account_links')
    .where('digest', '=', sha256(value))
    .where('expires_at', '>', now)
    .returningAll()
    .executeTakeFirst();
  if (!row) return undefined;
  const link = toLink(row);
  const { linkId, kind, accountId } = link;
  await trail.recordIn(tx, origin, {
    event: 'account.link_used',
    outcome: 'success',
    accountId,
    details: { link_id: linkId, kind },
  });
  return link;
}

export async function listLinks(reader: Reader, accountId: string, now: Date): Promise<readonly AccountLink[]> {
  const rows = await reader
    .selectFrom('account_links')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('expires_at', '>', now)
    .orderBy('created_at', 'desc')
    .orderBy('link_id')
    .execute();
  return rows.map(toLink);
}

/** Ends links of these kinds before they are used, and returns their number. */
export async function endLinks(tx: Tx, accountId: string, kinds: readonly LinkKind[]): Promise<number> {
  const { numDeletedRows } = await tx
    .deleteFrom('account_links')
    .where('account_id', '=', accountId)
    .where('kind', 'in', kinds)
    .executeTakeFirst();
  return Number(numDeletedRows);
}

/** Ends one link, for an admin. Returns whether it existed. */
export async function endLink({ tx, trail, origin }: UnitOfWork, accountId: string, linkId: string): Promise<boolean> {
  const ended = await tx
    .deleteFrom('account_links')
    .where('account_id', '=', accountId)
    .where('link_id', '=', linkId)
    .returning('kind')
    .executeTakeFirst();
  if (!ended) return false;
  const details = { link_id: linkId, kind: ended.kind };
  await trail.recordIn(tx, origin, { event: 'account.link_ended', outcome: 'success', accountId, details });
  return true;
}

/** Ends the links that must not outlive a change of the account's password or address. */
export async function endLinksOfChange(tx: Tx, accountId: string): Promise<void> {
  await endLinks(tx, accountId, ENDED_BY_CHANGES);
}

/** Ends the links that an account got after this one. */
export async function endLaterLinks(tx: Tx, { accountId, createdAt }: AccountLink): Promise<void> {
  await tx
    .deleteFrom('account_links')
    .where('account_id', '=', accountId)
    .where('created_at', '>', createdAt)
    .execute();
}

/** Counts the unused links of a kind that were created since then. */
export async function countLinks(
  reader: Reader,
  accountId: string,
  { kind, since }: { readonly kind: LinkKind; readonly since: Date },
): Promise<number> {
  const { count } = await reader
    .selectFrom('account_links')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .where('account_id', '=', accountId)
    .where('kind', '=', kind)
    .where('created_at', '>', since)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** Ends all links of an account, the ways back included. */
export async function endAllLinks(tx: Tx, accountId: string): Promise<void> {
  await tx.deleteFrom('account_links').where('account_id', '=', accountId).execute();
}

interface LinkRow {
  readonly link_id: string;
  readonly account_id: string;
  readonly kind: string;
  readonly email: string | null;
  readonly sent_to: string | null;
  readonly change: Record<string, unknown> | null;
  readonly created_at: Date;
  readonly expires_at: Date;
}

function toLink(row: LinkRow): AccountLink {
  return {
    linkId: row.link_id,
    accountId: row.account_id,
    kind: row.kind as LinkKind,
    email: row.email,
    sentTo: row.sent_to,
    change: row.change as ReportedChange | null,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}
