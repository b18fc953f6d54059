/**
 * Maps the subject of an external issuer's assertion to an account of this server, or to an external subject without
 * one.
 */
import { createHash } from 'node:crypto';
import { findAccount, findAccountByEmail, type Account } from '../../accounts/account.ts';
import { canonicalEmail, EMAIL_ADDRESS, EMAIL_LIMIT } from '../../base/email_address.ts';
import { isVisible } from '../../base/visible_text.ts';
import type { Database } from '../../db/connection.ts';
import type { ExternalSubjects } from '../../grant_policies/policy.ts';
import type { StatementClaims } from '../../trust/statement_verifier.ts';
import { NO_MEMBERSHIPS, readMemberships, type Memberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { findLinkedAccountId } from '../../trust/subject_links.ts';

export interface ExternalSubject {
  /** The `sub` of the issued token. */
  readonly sub: string;
  readonly accountId: string | undefined;
  /** Identifies an external subject (`sub_id` claim); resource servers can't interpret its `sub` alone. */
  readonly subId: { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string } | undefined;
}

/** The reason why the assertion's subject is refused, for the developer of the client. */
export interface SubjectRefused {
  readonly refused: string;
}

/** The length that can be stored, in characters. */
const SUBJECT = /^.{1,255}$/su;

/** Maps the subject of an assertion as the policy says; resolves to a reason if it is refused. */
export async function findExternalSubject(
  database: Database,
  subjects: ExternalSubjects,
  claims: StatementClaims,
): Promise<ExternalSubject | SubjectRefused> {
  const { iss, sub } = claims;
  if (typeof sub !== 'string' || !SUBJECT.test(sub) || !isVisible(sub)) {
    return { refused: 'sub must be a string of 1 to 255 visible characters' };
  }
  if (subjects.subjects && !subjects.subjects.includes(sub))
    return { refused: 'the policy does not permit this subject' };
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

/** The groups of the subject's account; a subject without one is in no group. */
export async function membershipsOfSubject(
  database: Database,
  roles: RoleDirectory,
  accountId: string | undefined,
): Promise<Memberships> {
  return accountId !== undefined && roles.hasGroups ? readMemberships(database, accountId) : NO_MEMBERSHIPS;
}

/** A `sub` that no account or client can have. It is always the same for a subject of an issuer. */
function externalSubject(iss: string, sub: string): string {
  return `external_${createHash('sha256')
    .update(JSON.stringify([iss, sub]))
    .digest('base64url')}`;
}

async function findLinkedAccount(database: Database, iss: string, sub: string): Promise<Account | SubjectRefused> {
  const accountId = await findLinkedAccountId(database, iss, sub);
  const account = accountId === undefined ? undefined : await findAccount(database, accountId);
  return account ?? { refused: 'the subject is not linked to an account' };
}

/**
 * Finds an account by a verified e-mail address. The issuer must have verified it: otherwise the address is only what a
 * person typed in. The account must have verified it too: otherwise a person could create an account with another
 * person's address.
 */
async function findAccountOfAddress(
  database: Database,
  { emailDomains }: ExternalSubjects,
  { email, email_verified }: StatementClaims,
): Promise<Account | SubjectRefused> {
  const address = typeof email === 'string' && email.length <= EMAIL_LIMIT ? canonicalEmail(email) : '';
  if (!EMAIL_ADDRESS.test(address) || email_verified !== true)
    return { refused: 'it must have email and email_verified set to true' };
  if (!emailDomains.includes(address.slice(address.indexOf('@') + 1)))
    return { refused: 'the policy does not permit this issuer to assert addresses of this domain' };
  const account = await findAccountByEmail(database, address);
  if (!account?.emailVerified) return { refused: 'no account has verified this e-mail address' };
  return account;
}
