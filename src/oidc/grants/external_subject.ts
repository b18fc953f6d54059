/** Whom the subject of an outside issuer's assertion is here: an account of ours, or somebody who stays outside. */
import { createHash } from 'node:crypto';
import { findAccount, findAccountByEmail, type Account } from '../../accounts/account.ts';
import type { Database } from '../../db/connection.ts';
import type { OutsideSubjects } from '../../grant_policies/policy.ts';
import type { StatementClaims } from '../../trust/statement_verifier.ts';
import { findLinkedAccountId } from '../../trust/subject_links.ts';

export interface ExternalSubject {
  /** The token's `sub`. */
  readonly sub: string;
  readonly accountId: string | undefined;
  /** Who it is, where the subject stays outside: `sub` alone would be no name that anybody knows. */
  readonly subId: { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string } | undefined;
}

/** Why an assertion's subject can't be taken, in words for the developer who sent it. */
export interface SubjectRefused {
  readonly refused: string;
}

/** What can be stored, compared and shown: 255 characters at most, and none that nobody sees. */
const SUBJECT = /^[^\p{Cc}\p{Cf}\p{Cs}]{1,255}$/u;
/** ASCII alone: letters that become ASCII when they are lower-cased would make two addresses one. */
const ADDRESS = /^[\x21-\x3f\x41-\x7e]+@([\x21-\x3f\x41-\x7e]+)$/;

export async function findExternalSubject(
  database: Database,
  subjects: OutsideSubjects,
  claims: StatementClaims,
): Promise<ExternalSubject | SubjectRefused> {
  const { iss, sub } = claims;
  if (typeof sub !== 'string' || !SUBJECT.test(sub)) {
    return { refused: 'sub must be a string of 1 to 255 characters, none of them invisible' };
  }
  if (subjects.subjects && !subjects.subjects.includes(sub))
    return { refused: 'the policy does not name this subject' };
  if (subjects.account === 'external') {
    return { sub: externalSubject(iss, sub), accountId: undefined, subId: { format: 'iss_sub', iss, sub } };
  }
  const account =
    subjects.account === 'linked'
      ? await findLinkedAccount(database, iss, sub)
      : await findAccountOfAddress(database, subjects, claims);
  if ('refused' in account) return account;
  if (account.disabledAt) return { refused: 'the account is disabled' };
  return { sub: account.accountId, accountId: account.accountId, subId: undefined };
}

/** A name that no account and no client can have, the same for the same subject of the same issuer. */
function externalSubject(iss: string, sub: string): string {
  return `external_${createHash('sha256')
    .update(JSON.stringify([iss, sub]))
    .digest('base64url')}`;
}

async function findLinkedAccount(database: Database, iss: string, sub: string): Promise<Account | SubjectRefused> {
  const accountId = await findLinkedAccountId(database, iss, sub);
  const account = accountId === undefined ? undefined : await findAccount(database, accountId);
  return account ?? { refused: 'the subject is linked to no account' };
}

/**
 * An address says who somebody is only where both sides have verified it: an issuer that did not would vouch for
 * whatever was typed in, and an account that was made with another person's address is not theirs.
 */
async function findAccountOfAddress(
  database: Database,
  { emailDomains }: OutsideSubjects,
  { email, email_verified }: StatementClaims,
): Promise<Account | SubjectRefused> {
  const domain = typeof email === 'string' ? ADDRESS.exec(email)?.[1]?.toLowerCase() : undefined;
  if (domain === undefined || email_verified !== true) return { refused: 'it must carry a verified e-mail address' };
  if (!emailDomains.includes(domain)) return { refused: 'the policy does not let the issuer vouch for this domain' };
  const account = await findAccountByEmail(database, (email as string).toLowerCase());
  if (!account?.emailVerified) return { refused: 'no account has verified this e-mail address' };
  return account;
}
