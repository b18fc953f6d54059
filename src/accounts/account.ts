/**
 * Accounts of the people who log in. An account has an id that never changes and is found by its email address in lower
 * case. Disabling an account ends its sessions and grants at once; deleting it also deletes all its data.
 */
import { z } from 'zod';
import { canonicalEmail, EMAIL_ADDRESS, EMAIL_LIMIT } from '../base/email_address.ts';
import { randomId } from '../base/ids.ts';
import { conflict, notFound } from '../base/refusal.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import { endAccess } from './end_access.ts';
import { endLinksOfChange } from './links.ts';
import type { EventOf } from '../audit/catalogue.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';
import { lengthOf, LONGEST_PASSWORD } from '../passwords/password_length.ts';
import { matching } from './account_search.ts';
import { changeProfile, profileChanges, profileMembers, type Profile, type ProfileChange } from './profile.ts';

export interface Account {
  readonly accountId: string;
  readonly email: string;
  readonly emailVerified: boolean;
  readonly name: string | null;
  readonly profile: Profile;
  readonly passwordHash: string | null;
  readonly disabledAt: Date | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** An address in the form in which it is stored. */
export const EmailAddress = z
  .string()
  .overwrite(canonicalEmail)
  .max(EMAIL_LIMIT, `must not be longer than ${EMAIL_LIMIT} characters`)
  .pipe(z.email({ pattern: EMAIL_ADDRESS, error: ({ input }) => objectionToEmail(String(input)) }));

function objectionToEmail(text: string): string {
  if (/\P{ASCII}.*@/su.test(text)) return 'must be an email address; the part before the @ must be ASCII';
  if (/^.{65,}@/s.test(text)) return 'must be an email address; the part before the @ must not exceed 64 characters';
  if (/@.*[^.]{64}/s.test(text)) return 'must be an email address; no part of the domain may exceed 63 characters';
  return 'must be an email address';
}

/** The bound of a request's member; `PasswordRules` decides about the password. */
const Password = z
  .string()
  .min(1, 'must not be empty')
  .refine(
    (password) => lengthOf(password) <= LONGEST_PASSWORD,
    `must not be longer than ${LONGEST_PASSWORD} characters`,
  )
  .meta({ maxLength: LONGEST_PASSWORD });

const name = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(200, 'must not be longer than 200 characters')
  .refine(isVisible, INVISIBLE_REFUSED);

export const NewAccount = z.strictObject({
  email: EmailAddress,
  email_verified: z.boolean().default(false),
  name: name.optional(),
  password: Password.optional(),
  ...profileMembers,
});
/** `null` removes a member, as in a JSON merge patch. */
export const AccountPatch = z.strictObject({
  email: EmailAddress.exactOptional(),
  email_verified: z.boolean().exactOptional(),
  name: name.nullable().exactOptional(),
  password: Password.exactOptional(),
  ...profileChanges,
});

export interface AccountValues {
  readonly email: string;
  readonly email_verified: boolean;
  readonly name: string | null;
  readonly password_hash: string | null;
  readonly profile?: Profile;
}

/** The values that may change; a profile changes member by member. */
export interface AccountChanges extends Partial<Omit<AccountValues, 'profile'>> {
  readonly profile?: ProfileChange;
}

export async function createAccount(work: UnitOfWork, { profile, ...values }: AccountValues): Promise<Account> {
  const row = await work.tx
    .insertInto('accounts')
    .values({
      account_id: randomId('account'),
      ...values,
      profile: json(profile ?? {}),
      disabled_at: null,
      created_at: work.now,
      updated_at: work.now,
    })
    .onConflict((clash) => clash.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!row) throw conflict('An account with this email address already exists.');
  await record(work, row.account_id, { event: 'account.created', outcome: 'success' });
  return toAccount(row);
}

/**
 * Returns the account, locked against other changes until the transaction ends. The lock allows foreign keys to the
 * account: another transaction that stores a token holds the grant and then references the account, while this one
 * holds the account and then locks its grants.
 */
export async function lockAccount(tx: Tx, accountId: string): Promise<Account> {
  const account = await lockAccountIfAny(tx, accountId);
  if (!account) throw notFound(`Account ${accountId} not found.`);
  return account;
}

export async function lockAccountIfAny(tx: Tx, accountId: string): Promise<Account | undefined> {
  const row = await tx
    .selectFrom('accounts')
    .selectAll()
    .where('account_id', '=', accountId)
    .forNoKeyUpdate()
    .executeTakeFirst();
  return row && toAccount(row);
}

/** The only member whose value the audit trail records; all others are personal data. */
const RECORDED_MEMBERS = ['email_verified'];

/**
 * Changes a locked account. A new password ends all sessions and grants, but `keptSession`: the one in which the person
 * changed the password. A new password or address ends links that lead to a password.
 */
export async function updateAccount(
  work: UnitOfWork,
  account: Account,
  { profile, ...values }: AccountChanges,
  { keptSession }: { readonly keptSession?: string } = {},
): Promise<Account> {
  const { tx, now } = work;
  if (values.email !== undefined && values.email !== account.email) {
    const taken = await tx
      .selectFrom('accounts')
      .select('account_id')
      .where('email', '=', values.email)
      .executeTakeFirst();
    if (taken) throw conflict('An account with this email address already exists.');
  }
  // sessions and grants first, then the account: a new address locks the account against foreign keys too
  if (values.password_hash !== undefined) await endAccess(work, account.accountId, keptSession);
  const row = await tx
    .updateTable('accounts')
    .set({
      ...values,
      ...(profile && { profile: json(changeProfile(account.profile, profile)) }),
      version: account.version + 1,
      updated_at: now,
    })
    .where('account_id', '=', account.accountId)
    .returningAll()
    .executeTakeFirstOrThrow()
    .catch(asConflict);
  const members = Object.keys({ ...values, ...profile }).filter((member) => member !== 'password_hash');
  if (members.length > 0) {
    const details = { members, ...changedValues(RECORDED_MEMBERS, { email_verified: account.emailVerified }, row) };
    await record(work, account.accountId, { event: 'account.updated', outcome: 'success', details });
  }
  if (values.password_hash !== undefined) {
    const event = values.password_hash === null ? 'account.password_removed' : 'account.password_changed';
    await record(work, account.accountId, { event, outcome: 'success' });
  }
  if (values.password_hash !== undefined || row.email !== account.email) await endLinksOfChange(tx, account.accountId);
  return toAccount(row);
}

export async function setDisabled(work: UnitOfWork, account: Account, disabled: boolean): Promise<Account> {
  const { tx, now } = work;
  if ((account.disabledAt !== null) === disabled)
    throw conflict(`${account.accountId} is already ${disabled ? 'disabled' : 'enabled'}.`);
  const row = await tx
    .updateTable('accounts')
    .set({ disabled_at: disabled ? now : null, version: account.version + 1, updated_at: now })
    .where('account_id', '=', account.accountId)
    .returningAll()
    .executeTakeFirstOrThrow();
  if (disabled) {
    await endAccess(work, account.accountId);
    await endLinksOfChange(tx, account.accountId);
  }
  await record(work, account.accountId, {
    event: disabled ? 'account.disabled' : 'account.enabled',
    outcome: 'success',
  });
  return toAccount(row);
}

export async function deleteAccount(work: UnitOfWork, account: Account): Promise<void> {
  await endAccess(work, account.accountId);
  await work.tx.deleteFrom('accounts').where('account_id', '=', account.accountId).execute();
  await record(work, account.accountId, { event: 'account.deleted', outcome: 'success' });
}

export async function findAccount(reader: Reader, accountId: string): Promise<Account | undefined> {
  const row = await reader.selectFrom('accounts').selectAll().where('account_id', '=', accountId).executeTakeFirst();
  return row && toAccount(row);
}

/** Finds the account of an address as a person may type it. */
export async function findAccountByEmail(reader: Reader, typed: string): Promise<Account | undefined> {
  const email = canonicalEmail(typed);
  const row = await reader.selectFrom('accounts').selectAll().where('email', '=', email).executeTakeFirst();
  return row && toAccount(row);
}

export interface AccountPage {
  readonly limit: number;
  readonly after?: { readonly createdAt: Date; readonly accountId: string } | undefined;
  /** Part of the email address or name; case does not matter. A domain may be in the letters of its language. */
  readonly search?: string | undefined;
}

export async function readAccounts(reader: Reader, { limit, after, search }: AccountPage): Promise<Account[]> {
  let rows = reader.selectFrom('accounts').selectAll().orderBy('created_at').orderBy('account_id').limit(limit);
  if (after)
    rows = rows.where(({ eb, refTuple, tuple }) =>
      eb(refTuple('created_at', 'account_id'), '>', tuple(after.createdAt, after.accountId)),
    );
  if (search) rows = rows.where(await matching(reader, search));
  return (await rows.execute()).map(toAccount);
}

/** Another transaction may have stored the address after the check above. */
function asConflict(error: unknown): never {
  if (error instanceof Error && 'code' in error && error.code === '23505') {
    throw conflict('An account with this email address already exists.');
  }
  throw error;
}

type AccountEvent =
  `account.${'created' | 'updated' | 'disabled' | 'enabled' | 'deleted' | 'password_changed' | 'password_removed'}`;

async function record(
  { tx, trail, origin }: UnitOfWork,
  accountId: string,
  what: EventOf<AccountEvent>,
): Promise<void> {
  await trail.recordIn(tx, origin, { ...what, accountId });
}

export interface AccountRow {
  account_id: string;
  email: string;
  email_verified: boolean;
  name: string | null;
  profile: Profile;
  password_hash: string | null;
  disabled_at: Date | null;
  version: number;
  created_at: Date;
  updated_at: Date;
}

export function toAccount(row: AccountRow): Account {
  return {
    accountId: row.account_id,
    email: row.email,
    emailVerified: row.email_verified,
    name: row.name,
    profile: row.profile,
    passwordHash: row.password_hash,
    disabledAt: row.disabled_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
