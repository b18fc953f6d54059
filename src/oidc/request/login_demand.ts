/** What the request of an interaction needs of the login, for the pages that ask the person for it. */
import type { Provider } from 'oidc-provider';
import { meets, type DemandedContexts } from '../authorization/demanded_context.ts';
import type { Database } from '../../db/connection.ts';
import { NO_MEMBERSHIPS, readMemberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

export interface LoginDemand {
  /** The weakest context that the request accepts; `undefined`: any. */
  readonly required: string | undefined;
  /** The weakest context with which the login is as strong as the request asks for. */
  readonly wished: string | undefined;
  /** Whether the login must be recent, or confirm the person's identity: a remembered device is then not enough. */
  readonly isRepeated: boolean;
}

/** An interaction, as far as it says what a login must be; `params` are empty for the server's own pages. */
interface LoginRequest {
  readonly params: Readonly<Record<string, unknown>>;
  readonly session?: { readonly accountId?: string | undefined } | undefined;
}

export interface LoginDemandSettings {
  readonly provider: () => Provider;
  readonly database: Database;
  readonly roles: RoleDirectory;
  readonly demandedContexts: DemandedContexts;
  /** The contexts that a login can have, the weakest first. */
  readonly acrValues: readonly string[];
}

/** Returns the context that an admin requires of logins of this account in particular. */
export function demandOnAccount({
  database,
  roles,
  demandedContexts,
}: Pick<LoginDemandSettings, 'database' | 'roles' | 'demandedContexts'>) {
  return async (accountId: string): Promise<string | undefined> =>
    demandedContexts.requiredOf(roles.hasGroups ? await readMemberships(database, accountId) : NO_MEMBERSHIPS);
}

export function demandOfLogin({ provider, database, roles, demandedContexts, acrValues }: LoginDemandSettings) {
  return async ({ params, session }: LoginRequest, accountId: string): Promise<LoginDemand> => {
    const clientId = params['client_id'];
    const client = typeof clientId === 'string' ? await provider().Client.find(clientId) : undefined;
    const memberships = roles.requiresContexts ? await readMemberships(database, accountId) : NO_MEMBERSHIPS;
    const demand = demandedContexts.of({ client: client && recordOf(client).metadata, memberships }, params);
    const wished = acrValues.find((acr) => meets(acr, demand));
    const attainable = demand.essential ? wished : acrValues.find((acr) => meets(acr, { ...demand, values: [] }));
    // a context that no login here can have is not met by a weaker one
    const required = attainable ?? demand.required;
    const hasMaxAge = params['max_age'] !== undefined || client?.defaultMaxAge !== undefined;
    return { required, wished, isRepeated: hasMaxAge || session?.accountId !== undefined };
  };
}
