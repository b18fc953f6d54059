/** What the request of an interaction needs of the login, for the pages that ask the person for it. */
import type { Provider } from 'oidc-provider';
import { meets, type DemandedContexts } from '../authorization/demanded_context.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

export interface LoginDemand {
  /** The weakest context that the request accepts; `undefined`: any. */
  readonly required: string | undefined;
  /** The weakest context with which the login is as strong as the request asks for. */
  readonly wished: string | undefined;
  /** Whether the login must be recent, or confirm the person's identity: a remembered device is then not enough. */
  readonly isRepeated: boolean;
}

interface Interaction {
  readonly prompt: { readonly details: Readonly<Record<string, unknown>> };
  readonly params: Readonly<Record<string, unknown>>;
  readonly session?: { readonly accountId?: string | undefined } | undefined;
}

export interface LoginDemandSettings {
  readonly provider: () => Provider;
  readonly demandedContexts: DemandedContexts;
  /** The contexts that a login can have, the weakest first. */
  readonly acrValues: readonly string[];
}

export function demandOfLogin({ provider, demandedContexts, acrValues }: LoginDemandSettings) {
  return async ({ params, session }: Interaction): Promise<LoginDemand> => {
    const clientId = params['client_id'];
    const client = typeof clientId === 'string' ? await provider().Client.find(clientId) : undefined;
    const demand = demandedContexts.of(client && recordOf(client).metadata, params);
    const wished = acrValues.find((acr) => meets(acr, demand));
    const required = demand.essential ? wished : acrValues.find((acr) => meets(acr, { ...demand, values: [] }));
    const hasMaxAge = params['max_age'] !== undefined || client?.defaultMaxAge !== undefined;
    return { required, wished, isRepeated: hasMaxAge || session?.accountId !== undefined };
  };
}
