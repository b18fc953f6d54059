/** Finds accounts, together with their groups, for the library. */
import { errors, type Account as OidcAccount, type KoaContextWithOIDC } from 'oidc-provider';
import { toAccount } from '../../accounts/account.ts';
import type { Subjects } from '../../clients/subject.ts';
import type { Database, Reader } from '../../db/connection.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import { membershipsOf, NO_MEMBERSHIPS } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import type { DemandedContexts } from '../authorization/demanded_context.ts';
import { resolveHintedSubject } from '../authorization/hinted_subject.ts';
import { requireStrongLogin } from '../authorization/stronger_login.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { accountClaims, claimsForIdToken } from '../issuance/id_token.ts';
import { ADDED_CLAIMS, mappedClaims, mappingsOf, type AddedClaims } from '../issuance/person_claims.ts';
import { claimsFor } from '../issuance/single_claims.ts';
import { takePerson } from '../storage/request_prefetch.ts';
import type { Person } from '../storage/token_rows.ts';

export interface PeopleSettings {
  readonly database: Database;
  readonly subjects: Subjects;
  readonly roles: RoleDirectory;
  readonly demandedContexts: DemandedContexts;
}

/** Returns the library's hook of this name; it resolves to `undefined` if the account does not exist or is disabled. */
export function findAccountFor({ database, subjects, roles, demandedContexts }: PeopleSettings) {
  return async (ctx: KoaContextWithOIDC, name: string): Promise<OidcAccount | undefined> => {
    const accountId = await resolveHintedSubject(database, subjects, ctx, name);
    if (accountId === undefined) return undefined;
    const person = takePerson(accountId) ?? (await findPerson(database, accountId, roles.hasGroups));
    if (!person || person.account.disabledAt || !mayGoOn(ctx, person)) return undefined;
    if (ctx.oidc.route === 'token') requireStrongLogin(ctx, demandedContexts, person.memberships);
    const { account } = person;
    return {
      accountId,
      person,
      claims: (use, _scope, asked) => {
        const { metadata } = recordOf(ctx.oidc.client!);
        const isToken = use === 'id_token';
        const claims = claimsFor(
          metadata,
          isToken ? claimsForIdToken(metadata, account, asked) : accountClaims(account),
        );
        if (isToken && metadata.id_token_claims === 'minimal') return claims;
        // a member that the client may not have by its own name it does not get by another one either
        const added: AddedClaims = (gets) =>
          mappedClaims(mappingsOf(metadata), person, roles, {
            gets: (member) => Object.hasOwn(claims, member) && gets(member),
            isToken,
          });
        return { ...claims, [ADDED_CLAIMS]: added };
      },
    };
  };
}

/** Reads the account and its groups in one statement. */
async function findPerson(reader: Reader, accountId: string, withGroups: boolean): Promise<Person | undefined> {
  const row = await reader
    .selectFrom('accounts')
    .selectAll('accounts')
    .select(membershipsOf('accounts.account_id', withGroups).as('memberships'))
    .where('account_id', '=', accountId)
    .executeTakeFirst();
  return row && { account: toAccount(row), memberships: row.memberships ?? NO_MEMBERSHIPS };
}

/**
 * At authorization, the person sees a page that says why (authorization/person_rights.ts). Here the client asks with a
 * token of a person who may not use it any more. Throws `AccessDenied` at the token endpoint.
 */
function mayGoOn({ oidc }: KoaContextWithOIDC, { memberships }: Person): boolean {
  const isTokenRequest = oidc.route === 'token';
  if (!oidc.client || (!isTokenRequest && oidc.route !== 'userinfo')) return true;
  const isAllowed = isAllowedToUse(recordOf(oidc.client).metadata, memberships);
  if (!isAllowed && isTokenRequest) throw new errors.AccessDenied('the end-user may not use this client');
  return isAllowed;
}
