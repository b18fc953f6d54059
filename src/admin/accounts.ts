/**
 * Routes for accounts: create, list, show, change, disable, enable and delete the people who log in. No route returns a
 * password or its hash.
 */
import { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import {
  AccountPatch,
  createAccount,
  deleteAccount,
  findAccount,
  lockAccount,
  NewAccount,
  readAccounts,
  setDisabled,
  updateAccount,
  type Account,
} from '../accounts/account.ts';
import { endAllLinks } from '../accounts/links.ts';
import { hashPassword } from '../accounts/password.ts';
import { profileMembers, validateProfile } from '../accounts/profile.ts';
import { invalid, notFound } from '../base/refusal.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import { requireRightsOf } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { AccountParams, search, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

const AccountView = z
  .strictObject({
    account_id: z.string(),
    email: z.string(),
    email_verified: z.boolean(),
    name: z.string().nullable(),
    ...profileMembers,
    has_password: z.boolean().describe('False if the person cannot log in with a password.'),
    disabled: z.boolean(),
    disabled_at: Timestamp.nullable(),
    created_at: Timestamp,
    updated_at: Timestamp,
  })
  .meta({ id: 'Account' });
type AccountView = z.output<typeof AccountView>;

const ListQuery = z.strictObject({ ...paging, q: search('Part of a name or email address; case does not matter.') });
const shown = { status: 200, description: 'The account after the change.', body: AccountView, headers: ['ETag'] };

export const accountRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/accounts',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'Create an account',
    body: NewAccount.meta({ id: 'NewAccount', examples: [{ email: 'ada@example.com', name: 'Ada Lovelace' }] }),
    reply: { status: 201, description: 'The account.', body: AccountView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) => create(call, body),
  }),
  adminRoute({
    method: 'GET',
    path: '/accounts',
    scope: 'accounts:read',
    tag: 'accounts',
    summary: 'List accounts, oldest first',
    query: ListQuery,
    reply: { status: 200, description: 'A page of accounts.', body: pageOf(AccountView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}',
    scope: 'accounts:read',
    tag: 'accounts',
    summary: 'Show an account',
    params: AccountParams,
    reply: shown,
    refuses: [404],
    async handle({ params }, call) {
      const account = await findAccount(call.dependencies.database, params.account_id);
      if (!account) throw notFound(`Account ${params.account_id} not found.`);
      return call.show(entityTag(account.version), accountView(account));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/accounts/{account_id}',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'Change an account (JSON merge patch)',
    description:
      'A new password has to meet the rules for passwords, and ends all sessions and grants. To set a password or an email address, the caller needs every admin scope that the account has. A new email address or phone number counts as unverified unless the patch says otherwise. A patch of the postal address changes only the members that it names.',
    params: AccountParams,
    body: AccountPatch.meta({ id: 'AccountPatch', examples: [{ email_verified: true }] }),
    reply: shown,
    refuses: [404, 409, 412],
    handle: ({ params, body }, call) => update(call, params.account_id, body),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'Delete an account and all its data',
    params: AccountParams,
    reply: { status: 204, description: 'The account, its sessions, grants and tokens are deleted.' },
    refuses: [404, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const account = await lockAccount(work.tx, params.account_id);
        call.refuseOtherVersion(account.version);
        await deleteAccount(work, account);
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'POST',
    path: '/accounts/{account_id}/disable',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'Disable an account',
    description: 'The person cannot log in any more. All sessions, grants and tokens of the account end at once.',
    params: AccountParams,
    reply: shown,
    refuses: [404, 409],
    handle: ({ params }, call) => changed(call, params.account_id, (work, account) => setDisabled(work, account, true)),
  }),
  adminRoute({
    method: 'POST',
    path: '/accounts/{account_id}/enable',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'Enable a disabled account',
    description: 'The caller needs every admin scope that the account has.',
    params: AccountParams,
    reply: shown,
    refuses: [404, 409],
    handle: ({ params }, call) =>
      changed(call, params.account_id, async (work, account) => {
        await requireRightsOf(call, work.tx, account.accountId);
        return setDisabled(work, account, false);
      }),
  }),
];

async function create(
  call: AdminCall,
  { password, email, email_verified, name, ...given }: z.output<typeof NewAccount>,
): Promise<Reply<AccountView>> {
  const profile = validateProfile(given);
  const { argon2id, passwordRules } = call.dependencies;
  refuseGivenPassword(call, password);
  if (password !== undefined) await passwordRules.require(password, { email, name: name ?? null });
  const password_hash = password === undefined ? null : await hashPassword(argon2id, password);
  return call.write(async (work) => {
    const account = await createAccount(work, {
      email,
      email_verified,
      name: name ?? null,
      profile,
      password_hash,
    });
    return {
      status: 201,
      headers: {
        ETag: entityTag(account.version),
        Location: `${adminResourceIdentifier(call.dependencies.issuer)}/accounts/${account.accountId}`,
      },
      body: accountView(account),
    };
  });
}

async function update(
  call: AdminCall,
  accountId: string,
  { password, email, email_verified, name, ...profile }: z.output<typeof AccountPatch>,
): Promise<Reply<AccountView>> {
  refuseGivenPassword(call, password);
  const password_hash =
    password === undefined ? undefined : await hashNewPassword(call, accountId, { password, email, name });
  const notices = await call.dependencies.notices.open(call.now);
  return changed(call, accountId, async (work, account) => {
    call.refuseOtherVersion(account.version);
    const letsActAs = [password, email, email_verified].some((value) => value !== undefined);
    if (letsActAs) await requireRightsOf(call, work.tx, accountId);
    const moved = email !== undefined && email !== account.email;
    const updated = await updateAccount(work, account, {
      ...(email !== undefined && { email }),
      ...(moved && { email_verified: false }),
      ...(email_verified !== undefined && { email_verified }),
      ...(name !== undefined && { name }),
      ...(Object.keys(profile).length > 0 && { profile }),
      ...(password_hash !== undefined && { password_hash }),
    });
    // the admin's decision is the last: no link of the old address takes it back
    if (moved) {
      await endAllLinks(work.tx, accountId);
      await notices.emailChanged(work, account, 'by an admin');
    }
    if (password_hash !== undefined) await notices.passwordChanged(work, updated);
    return updated;
  });
}

function refuseGivenPassword({ dependencies }: AdminCall, password: string | undefined): void {
  if (password === undefined || !dependencies.passwordsByLinkOnly) return;
  throw invalid(
    '/password',
    'is not taken, because people choose their passwords themselves here: make a link with POST /accounts/{account_id}/links',
  );
}

/** Checks the password against the owner's name and address as they will be. Unknown accounts are refused later. */
async function hashNewPassword(
  { dependencies }: AdminCall,
  accountId: string,
  { password, email, name }: { password: string; email: string | undefined; name: string | null | undefined },
): Promise<string> {
  const { database, argon2id, passwordRules } = dependencies;
  const account = await findAccount(database, accountId);
  if (!account) throw notFound(`Account ${accountId} not found.`);
  const owner = { accountId, email: email ?? account.email, name: name === undefined ? account.name : name };
  await passwordRules.require(password, owner);
  return hashPassword(argon2id, password);
}

async function changed(
  call: AdminCall,
  accountId: string,
  apply: (work: UnitOfWork, account: Account) => Promise<Account>,
): Promise<Reply<AccountView>> {
  return call.write(async (work) => {
    const account = await apply(work, await lockAccount(work.tx, accountId));
    return { status: 200, headers: { ETag: entityTag(account.version) }, body: accountView(account) };
  });
}

type AccountPosition = { readonly created_at: string; readonly account_id: string };

async function list(call: AdminCall, { limit, cursor, q }: z.output<typeof ListQuery>) {
  const accounts: List = { name: 'accounts', filters: { q } };
  const after = await call.openCursor<AccountPosition>(accounts, cursor);
  const rows = await readAccounts(call.dependencies.database, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), accountId: after.account_id },
    search: q,
  });
  return call.page(accounts, {
    rows,
    limit,
    position: ({ createdAt, accountId }): AccountPosition => ({
      created_at: createdAt.toISOString(),
      account_id: accountId,
    }),
    view: accountView,
  });
}

function accountView(account: Account): AccountView {
  return {
    account_id: account.accountId,
    email: account.email,
    email_verified: account.emailVerified,
    name: account.name,
    ...account.profile,
    has_password: account.passwordHash !== null,
    disabled: account.disabledAt !== null,
    disabled_at: timestampOrNull(account.disabledAt),
    created_at: timestamp(account.createdAt),
    updated_at: timestamp(account.updatedAt),
  };
}
