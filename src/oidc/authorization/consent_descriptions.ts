/** Descriptions of clients and scopes for the consent pages. */
import { SCOPES_ABOUT_PERSON } from '../../accounts/data_for_apis.ts';
import { isSetByAdmin, isUnverified, type Client } from '../../clients/client.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';

export interface ClientDescription {
  readonly name: string;
  readonly clientUri?: string | undefined;
  /** `clientUri`, if the client can't change it. */
  readonly vettedUri?: string | undefined;
  readonly policyUri?: string | undefined;
  readonly tosUri?: string | undefined;
  /** A warning that the application's identity is not verified; `undefined` if an admin registered it. */
  readonly caution?: string | undefined;
  /** True if the person must consent each time, even after an earlier consent. */
  readonly asksAlways?: boolean | undefined;
}

export interface ApiDescription {
  readonly api: string;
  readonly scopes: readonly { readonly name: string; readonly description: string }[];
}

const OPENID_SCOPES_IN_WORDS: Readonly<Record<string, string>> = {
  openid: 'Know who you are when you come back',
  profile: 'See your name and the rest of your profile, such as your picture, birthday, language and time zone',
  email: 'See your e-mail address',
  address: 'See your postal address',
  phone: 'See your phone number',
  offline_access: 'Stay connected while you are not using it, until you take this back',
};

/** Returns a function that describes a client; it resolves to `undefined` if the client is unknown or revoked. */
export function describeClient(clients: ClientDirectory) {
  return async (clientId: string): Promise<ClientDescription | undefined> => {
    const client = await clients.find(clientId);
    if (!client || client.revokedAt) return undefined;
    const { client_name, client_uri, policy_uri, tos_uri } = client.metadata;
    return {
      name: client_name ?? clientId,
      clientUri: client_uri,
      vettedUri: isSetByAdmin(client, 'client_uri') ? client_uri : undefined,
      policyUri: policy_uri,
      tosUri: tos_uri,
      caution: cautionAbout(client),
      asksAlways: isUnverified(client),
    };
  };
}

/** The warning for a client that an admin did not create, else `undefined`. */
export function cautionAbout(client: Client): string | undefined {
  const { clientId, registration } = client;
  if (!registration) return undefined;
  if (registration.source === 'registration')
    return 'It registered itself: nobody here has checked what it calls itself.';
  const caution = `It is known by its address, ${new URL(clientId).host}: nobody here has checked what it calls itself.`;
  return isOnDeviceOnly(client) ? `${caution} ${ANY_PROGRAM}` : caution;
}

/** The host of a document proves nothing if every answer goes to the person's own device (MCP, security considerations). */
const ANY_PROGRAM =
  'Any program on your device can pose as it. Allow it only if you have just started this application yourself.';

function isOnDeviceOnly(client: Client): boolean {
  const { redirect_uris: uris } = client.metadata;
  return isUnverified(client) && uris.length > 0 && uris.every((uri) => !uri.startsWith('https:'));
}

/** Returns a function that describes the scopes of a request, grouped by API. */
export function describeScopes(resources: ResourceDirectory, issuer: string) {
  const account: (scopes: readonly string[]) => ApiDescription = (scopes) => ({
    api: `Your account at ${new URL(issuer).host}`,
    scopes: scopes.map((name) => ({ name, description: OPENID_SCOPES_IN_WORDS[name] ?? name })),
  });
  const api = (identifier: string, scopes: readonly string[]): ApiDescription => {
    const words = new Map(resources.get(identifier)?.scopes.map((scope) => [scope.name, scope.description]));
    return { api: identifier, scopes: scopes.map((name) => ({ name, description: words.get(name) ?? name })) };
  };
  const throughApi = (identifier: string, scopes: readonly string[]): ApiDescription => {
    const describe = (name: string): string =>
      `Let ${identifier} ${(OPENID_SCOPES_IN_WORDS[name] ?? name).replace(/^See/, 'see')} too`;
    return {
      api: `Your account at ${new URL(issuer).host}, for ${identifier}`,
      scopes: scopes.map((name) => ({ name, description: describe(name) })),
    };
  };
  return (request: {
    readonly openid: readonly string[];
    readonly resources: Readonly<Record<string, readonly string[]>>;
  }): ApiDescription[] => [
    ...(request.openid.length > 0 ? [account(request.openid)] : []),
    ...Object.entries(request.resources).flatMap(([identifier, scopes]) => [
      api(
        identifier,
        scopes.filter((scope) => !SCOPES_ABOUT_PERSON.has(scope)),
      ),
      throughApi(
        identifier,
        scopes.filter((scope) => SCOPES_ABOUT_PERSON.has(scope)),
      ),
    ]),
  ];
}
