/**
 * Prevents a way up through people: a caller can neither act as an account that has admin scopes which its own token
 * lacks, nor give such scopes to an account. Call `requireRightsOf` in each route that sets what a person logs in with or
 * is found by, such as a password, a link or an e-mail address, or that adds a right to an account.
 */
import type { Tx } from '../db/connection.ts';
import { scopesOfAccount, scopesOfGroup, scopesOfRole } from '../roles/held_scopes.ts';
import type { AdminCall } from './admin_call.ts';
import { forbidden } from './privilege_check.ts';
import { adminResourceIdentifier } from './scopes.ts';

/**
 * Throws unless the caller's token carries every admin scope that the account has through its roles. After a change that
 * adds a right, the scopes are those after the change.
 */
export async function requireRightsOf(call: AdminCall, tx: Tx, accountId: string): Promise<void> {
  refuseMissing(call, accountId, await scopesOfAccount(tx, adminResourceOf(call), accountId));
}

/** Throws unless the caller's token carries every admin scope of the group's roles and of its members. */
export async function requireRightsOfGroup(call: AdminCall, tx: Tx, groupId: string): Promise<void> {
  refuseMissing(call, 'The group, or one of its members,', await scopesOfGroup(tx, adminResourceOf(call), groupId));
}

/** Throws unless the caller's token carries every admin scope of the role and of the people who hold it. */
export async function requireRightsOfRole(call: AdminCall, tx: Tx, role: string): Promise<void> {
  refuseMissing(call, 'The role, or a person who holds it,', await scopesOfRole(tx, adminResourceOf(call), role));
}

function adminResourceOf({ dependencies }: AdminCall): string {
  return adminResourceIdentifier(dependencies.issuer);
}

function refuseMissing({ caller }: AdminCall, holder: string, scopes: readonly string[]): void {
  const missing = scopes.filter((scope) => !caller.scopes.has(scope));
  if (missing.length > 0)
    throw forbidden(`${holder} has admin scopes that your token does not carry: ${missing.join(' ')}.`);
}
