/** Links from a trusted issuer's subject to an account. Admins create them; the server never links by itself. */
import { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { randomId } from '../base/ids.ts';
import { conflict, invalid, notFound } from '../base/refusal.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import type { Reader } from '../db/connection.ts';

const identifier = (most: number) => z.string().min(1, 'must not be empty').max(most, 'is too long');

export const NewSubjectLink = z.strictObject({
  issuer: identifier(512).describe('A trusted issuer.'),
  subject: identifier(255)
    .refine(isVisible, INVISIBLE_REFUSED)
    .describe('The subject (sub) in assertions of the issuer.'),
  account_id: identifier(512).describe('The account that the subject acts as.'),
});

export interface SubjectLink {
  readonly linkId: string;
  readonly issuer: string;
  readonly subject: string;
  readonly accountId: string;
  readonly createdAt: Date;
}

/**
 * Links a subject to an account. Throws `invalid` for an unknown issuer or account, `conflict` if the subject is
 * linked.
 */
export async function createSubjectLink(
  change: UnitOfWork,
  given: z.output<typeof NewSubjectLink>,
): Promise<SubjectLink> {
  const { tx, now } = change;
  const { issuer, account_id } = given;
  const [trusted, account] = [
    await tx
      .selectFrom('trusted_issuers')
      .select('issuer')
      .where('issuer', '=', issuer)
      .forKeyShare()
      .executeTakeFirst(),
    await tx
      .selectFrom('accounts')
      .select('account_id')
      .where('account_id', '=', account_id)
      .forKeyShare()
      .executeTakeFirst(),
  ];
  if (!trusted) throw invalid('/issuer', 'must be a trusted issuer');
  if (!account) throw invalid('/account_id', 'must be the id of an account');
  const row = await tx
    .insertInto('subject_links')
    .values({ link_id: randomId('link'), ...given, created_at: now })
    .onConflict((clash) => clash.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!row) throw conflict('This subject of this issuer is already linked.');
  const link = toSubjectLink(row);
  await record(change, 'subject.linked', link);
  return link;
}

/** Deletes a link. Throws `not_found` if it does not exist. */
export async function deleteSubjectLink(change: UnitOfWork, linkId: string): Promise<void> {
  const row = await change.tx
    .deleteFrom('subject_links')
    .where('link_id', '=', linkId)
    .returningAll()
    .executeTakeFirst();
  if (!row) throw notFound('Link not found.');
  await record(change, 'subject.unlinked', toSubjectLink(row));
}

export async function findLinkedAccountId(
  reader: Reader,
  issuer: string,
  subject: string,
): Promise<string | undefined> {
  const row = await reader
    .selectFrom('subject_links')
    .select('account_id')
    .where('issuer', '=', issuer)
    .where('subject', '=', subject)
    .executeTakeFirst();
  return row?.account_id;
}

export interface SubjectLinkPage {
  readonly limit: number;
  readonly after?: { readonly createdAt: Date; readonly linkId: string } | undefined;
  readonly accountId?: string | undefined;
}

/** Lists links in order of creation. */
export async function readSubjectLinks(
  reader: Reader,
  { limit, after, accountId }: SubjectLinkPage,
): Promise<SubjectLink[]> {
  let rows = reader.selectFrom('subject_links').selectAll().orderBy('created_at').orderBy('link_id').limit(limit);
  if (accountId !== undefined) rows = rows.where('account_id', '=', accountId);
  if (after)
    rows = rows.where(({ eb, refTuple, tuple }) =>
      eb(refTuple('created_at', 'link_id'), '>', tuple(after.createdAt, after.linkId)),
    );
  return (await rows.execute()).map(toSubjectLink);
}

async function record(
  { tx, trail, origin }: UnitOfWork,
  event: 'subject.linked' | 'subject.unlinked',
  { linkId, issuer, subject, accountId }: SubjectLink,
): Promise<void> {
  const details = { link_id: linkId, issuer, subject };
  await trail.recordIn(tx, origin, { event, outcome: 'success', accountId, details });
}

function toSubjectLink(row: {
  link_id: string;
  issuer: string;
  subject: string;
  account_id: string;
  created_at: Date;
}): SubjectLink {
  const { link_id: linkId, issuer, subject, account_id: accountId, created_at: createdAt } = row;
  return { linkId, issuer, subject, accountId, createdAt };
}
