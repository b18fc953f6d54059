/** Describes clients and scopes for the consent pages, which put them into words. */
import { claimOfEntry, isAboutPerson } from '../../accounts/data_for_apis.ts';
import { isFirstParty, isSetByAdmin, isUnverified, type Client } from '../../clients/client.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import { accessOf } from '../../resources/resource.ts';

export interface ClientDescription {
  readonly name: string;
  readonly clientUri?: string | undefined;
  /** `clientUri`, if the client can't change it. */
  readonly vettedUri?: string | undefined;
  readonly policyUri?: string | undefined;
  readonly tosUri?: string | undefined;
  /** Why the application's identity is not verified; `undefined` if an admin registered it. */
  readonly caution?: Caution | undefined;
  /** True if the person must consent each time, even after an earlier consent. */
  readonly asksAlways?: boolean | undefined;
  /** The addresses of the people who run it, if the client can't change them. */
  readonly contacts?: readonly string[] | undefined;
  /** True if people are not asked for consent. */
  readonly firstParty?: boolean | undefined;
}

/** Why a page warns of an application. `on_device_only`: it is known by its address, but any local program can pose as it. */
export type Caution =
  | { readonly reason: 'registered_itself' }
  | { readonly reason: 'known_by_address' | 'on_device_only'; readonly host: string };

export interface ScopeDescription {
  readonly name: string;
  readonly description: string;
  readonly details?: string | undefined;
  readonly access?: 'read' | 'write' | undefined;
  /** Whether an admin said that the scope only reads, not only its name. */
  readonly isAccessStated?: boolean | undefined;
}

/**
 * Permissions of one kind. `account` are scopes of OpenID Connect, by name, and `claims` are single claims. With `api`,
 * they are what this API may read at userinfo with the application's token.
 */
export type ApiDescription =
  | { readonly kind: 'account'; readonly scopes: readonly string[]; readonly api?: string }
  | { readonly kind: 'claims'; readonly claims: readonly string[]; readonly api: string }
  | { readonly kind: 'api'; readonly name: string; readonly scopes: readonly ScopeDescription[] };

/** Returns a function that describes a client; it resolves to `undefined` if the client is unknown or revoked. */
export function describeClient(clients: ClientDirectory) {
  return async (clientId: string): Promise<ClientDescription | undefined> => {
    const client = await clients.find(clientId);
    if (!client || client.revokedAt) return undefined;
    const { client_name, client_uri, policy_uri, tos_uri, contacts } = client.metadata;
    return {
      name: client_name ?? clientId,
      clientUri: client_uri,
      vettedUri: isSetByAdmin(client, 'client_uri') ? client_uri : undefined,
      policyUri: policy_uri,
      tosUri: tos_uri,
      caution: cautionAbout(client),
      asksAlways: isUnverified(client),
      firstParty: isFirstParty(client),
      contacts: isSetByAdmin(client, 'contacts') ? contacts : undefined,
    };
  };
}

/** The caution about a client that an admin did not create, else `undefined`. */
export function cautionAbout(client: Client): Caution | undefined {
  const { clientId, registration } = client;
  if (!registration) return undefined;
  if (registration.source === 'registration') return { reason: 'registered_itself' };
  const { host } = new URL(clientId);
  return { reason: isOnDeviceOnly(client) ? 'on_device_only' : 'known_by_address', host };
}

/** The host of a document proves nothing if every answer goes to the person's own device (MCP, security considerations). */
function isOnDeviceOnly(client: Client): boolean {
  const { redirect_uris: uris } = client.metadata;
  return isUnverified(client) && uris.length > 0 && uris.every((uri) => !uri.startsWith('https:'));
}

/** Returns a function that describes the scopes of a request, grouped by API. */
export function describeScopes(resources: ResourceDirectory) {
  const nameOf = (identifier: string): string => resources.get(identifier)?.displayName ?? identifier;
  const ownScopes = (identifier: string, names: readonly string[]): ApiDescription => {
    const known = new Map(resources.get(identifier)?.scopes.map((scope) => [scope.name, scope]));
    const scopes = names.map((name) => {
      const scope = known.get(name) ?? { name, description: name };
      return { ...scope, access: accessOf(scope), isAccessStated: scope.access !== undefined };
    });
    return { kind: 'api', name: nameOf(identifier), scopes };
  };
  return (request: {
    readonly openid: readonly string[];
    readonly resources: Readonly<Record<string, readonly string[]>>;
  }): ApiDescription[] => [
    ...(request.openid.length > 0 ? [{ kind: 'account', scopes: request.openid } as const] : []),
    ...Object.entries(request.resources).flatMap(([identifier, entries]): ApiDescription[] => {
      const names = entries.filter((entry) => !isAboutPerson(entry));
      const about = entries.filter(isAboutPerson);
      const api = nameOf(identifier);
      return [
        ownScopes(identifier, names),
        { kind: 'account', scopes: about.filter((entry) => claimOfEntry(entry) === undefined), api },
        { kind: 'claims', claims: about.flatMap((entry) => claimOfEntry(entry) ?? []), api },
      ];
    }),
  ];
}
