/**
 * What a token may be for. A client gets exactly the scopes of exactly the resources it was given; whoever asks for
 * more is told so (`invalid_scope`, `invalid_target`) and never gets something else instead.
 */
import { errors, type Client, type KoaContextWithOIDC, type ResourceServer } from 'oidc-provider';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { FAPI2_ACCESS_TOKEN_SECONDS, isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { OPENID_SCOPES, type Resource } from '../../resources/resource.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import type { AuthorizationDetailsPolicy } from '../authorization/authorization_details.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

const openid = new Set<string>(OPENID_SCOPES);

const AUTHORIZATION_ROUTES = new Set([
  'authorization',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
]);

export interface SortedScopes {
  readonly openid: readonly string[];
  readonly resources: Readonly<Record<string, readonly string[]>>;
}

/** A resource, and the scopes of it that a token is to carry. */
export interface Entitlement {
  readonly resource: Resource;
  readonly scope: string;
}

export class ResourcePolicy {
  readonly #resources: ResourceDirectory;
  readonly #details: AuthorizationDetailsPolicy;

  constructor(resources: ResourceDirectory, details: AuthorizationDetailsPolicy) {
    this.#resources = resources;
    this.#details = details;
  }

  /** The resource for a request that names none (RFC 8707 leaves it to the server): the only one that can be meant. */
  defaultResource = (
    ctx: KoaContextWithOIDC,
    client: Client,
    granted?: readonly string[],
  ): string | string[] | undefined => {
    // several were granted, and this token is for one: the client must say which
    if (granted) return [...granted];
    const record = recordOf(client);
    narrowOpenid(ctx, record);
    demandScope(ctx);
    const asked = scopesAskedFor(ctx).filter((scope) => !openid.has(scope));
    const details = this.#details.resourcesAskedFor(ctx);
    if (asked.length === 0 && details.length === 0 && !isClientCredentials(ctx)) return undefined;
    const fitting = this.#fitting(record, asked).filter(({ resource }) =>
      details.every((itsResources) => itsResources.includes(resource)),
    );
    if (fitting.length === 1) return fitting[0]!.resource;
    if (fitting.length > 1)
      throw new errors.InvalidTarget('this client may use several resources: name one with the resource parameter');
    if (details.length > 0)
      throw new errors.InvalidTarget(
        'no one resource takes all of the request: name several with the resource parameter',
      );
    if (asked.length === 0) throw new errors.InvalidTarget('this client has been given no resource');
    throw beyond(
      asked,
      new Set(record.metadata.resources.flatMap(({ resource }) => [...this.#allowed(record, resource)])),
    );
  };

  /** The scopes of a request, each where it belongs, as far as the client has been given them. */
  sort(client: Client, params: Readonly<Record<string, unknown>>): SortedScopes {
    const record = recordOf(client);
    const asked = splitScope(params['scope']);
    const named = [params['resource']].flat().filter((value) => typeof value === 'string');
    const ofResource = (resource: string): string[] => {
      const allowed = this.#allowed(record, resource);
      return asked.filter((scope) => allowed.has(scope));
    };
    return {
      openid: asked.filter((scope) => openid.has(scope)),
      resources: Object.fromEntries(named.map((resource) => [resource, ofResource(resource)])),
    };
  }

  /** Called for each resource of a request; refuses what this client was not given. */
  resourceServer = (ctx: KoaContextWithOIDC, identifier: string, client: Client): ResourceServer => {
    const record = recordOf(client);
    const resource = this.#resources.get(identifier);
    const allowed = this.#allowed(record, identifier);
    if (!resource || allowed.size === 0) throw new errors.InvalidTarget('this client has not been given the resource');
    const server = underProfile(record, resource, asServer(resource, allowed));
    narrowOpenid(ctx, record);
    demandScope(ctx);
    if (isClientCredentials(ctx)) this.#settleClientCredentialsScope(ctx, allowed);
    else if (isAuthorization(ctx)) {
      if (record.registration) settleScope(ctx, allowed);
      this.#refuseBeyondRequested(ctx, record);
    }
    return server;
  };

  /** A resource with these scopes, as far as it still has them: for grants whose own policy says what a client may have. */
  serverFor(client: Client, identifier: string, scopes: ReadonlySet<string>): ResourceServer | undefined {
    const resource = this.#resources.get(identifier);
    if (!resource) return undefined;
    const existing = resource.scopes.map((scope) => scope.name);
    const server = asServer(resource, new Set(existing.filter((scope) => scopes.has(scope))));
    return underProfile(recordOf(client), resource, server);
  }

  /** What a client gets by client credentials that asks for this; `undefined` where it is to be told why it gets nothing. */
  entitlement(record: ClientWithSecrets, asked: readonly string[], named: string | undefined): Entitlement | undefined {
    const [only, ...others] = this.#fitting(record, asked).filter(
      ({ resource }) => named === undefined || resource === named,
    );
    const resource = only && this.#resources.get(only.resource);
    if (!resource || others.length > 0) return undefined;
    const scope = asked.length > 0 ? asked : [...this.#allowed(record, resource.identifier)];
    return { resource, scope: scope.join(' ') };
  }

  /** The same of what a person has granted the client; `undefined` where nothing of it is left. */
  granted(record: ClientWithSecrets, identifier: string, scopes: readonly string[]): Entitlement | undefined {
    const resource = this.#resources.get(identifier);
    const allowed = this.#allowed(record, identifier);
    const scope = scopes.filter((name) => allowed.has(name)).join(' ');
    return resource && scope !== '' ? { resource, scope } : undefined;
  }

  /** The resources of the client that the scopes could be meant for. */
  #fitting(record: ClientWithSecrets, asked: readonly string[]) {
    return record.metadata.resources.filter(({ resource }) => {
      const allowed = this.#allowed(record, resource);
      return allowed.size > 0 && asked.every((scope) => allowed.has(scope));
    });
  }

  /** What the client has been given of a resource, as far as the resource still has it. */
  #allowed({ metadata }: ClientWithSecrets, identifier: string): ReadonlySet<string> {
    const given = metadata.resources.find(({ resource }) => resource === identifier)?.scopes ?? [];
    const existing = new Set(this.#resources.get(identifier)?.scopes.map((scope) => scope.name));
    return new Set(given.filter((scope) => existing.has(scope)));
  }

  /** No scope asked for is all that was given (RFC 6749, 3.3); the answer's `scope` says what that is. */
  #settleClientCredentialsScope({ oidc }: KoaContextWithOIDC, allowed: ReadonlySet<string>): void {
    const asked = splitScope(oidc.params?.['scope']);
    // who says in detail what it wants has not asked for everything
    if (asked.length === 0 && oidc.params?.['authorization_details'] !== undefined) return;
    if (asked.length === 0) oidc.params!['scope'] = [...allowed].join(' ');
    else if (asked.some((scope) => !allowed.has(scope))) throw beyond(asked, allowed);
  }

  #refuseBeyondRequested(ctx: KoaContextWithOIDC, record: ClientWithSecrets): void {
    const named = [ctx.oidc.params?.['resource']].flat().filter((value) => typeof value === 'string');
    const allowed = new Set([...openid, ...named.flatMap((resource) => [...this.#allowed(record, resource)])]);
    const asked = scopesAskedFor(ctx);
    if (asked.some((scope) => !allowed.has(scope))) throw beyond(asked, allowed);
  }
}

/**
 * Clients ask for every scope that discovery lists, whatever they may have (sssd's does). Of the scopes that are about a
 * person this server gives what the client is registered for (RFC 6749, 3.3), and the answer's `scope` says what it gave.
 */
function narrowOpenid(ctx: KoaContextWithOIDC, { metadata }: ClientWithSecrets): void {
  const asked = scopesAskedFor(ctx);
  if (metadata.scope === undefined || asked.length === 0 || !isAuthorization(ctx)) return;
  const registered = new Set(metadata.scope.split(' '));
  if (asked.includes('openid') && !registered.has('openid')) throw beyond(asked, registered);
  ctx.oidc.params!['scope'] = asked.filter((scope) => registered.has(scope) || !openid.has(scope)).join(' ');
}

/** What a client's profile says of tokens, whichever grant they come from. */
function underProfile({ metadata }: ClientWithSecrets, resource: Resource, server: ResourceServer): ResourceServer {
  if (!isFapi2(metadata)) return server;
  if (!isFapi2Alg(resource.signingAlg)) {
    throw new errors.InvalidTarget(
      `tokens for this resource are signed with ${resource.signingAlg}, which FAPI 2.0 forbids`,
    );
  }
  return { ...server, accessTokenTTL: Math.min(resource.accessTokenTtlSeconds, FAPI2_ACCESS_TOKEN_SECONDS) };
}

function asServer(resource: Resource, scopes: ReadonlySet<string>): ResourceServer {
  return {
    scope: [...scopes].join(' '),
    audience: resource.identifier,
    accessTokenTTL: resource.accessTokenTtlSeconds,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: resource.signingAlg } },
  };
}

/**
 * A program that meets an API for the first time doesn't know its scopes, and may be told none: MCP clients then leave
 * `scope` out, and the person is asked about all that there is for them (RFC 6749, 3.3).
 */
function settleScope({ oidc }: KoaContextWithOIDC, allowed: ReadonlySet<string>): void {
  const named = [oidc.params?.['resource']].flat();
  if (named.length !== 1 || splitScope(oidc.params?.['scope']).length > 0) return;
  oidc.params!['scope'] = [...allowed].join(' ');
}

function scopesAskedFor({ oidc }: KoaContextWithOIDC): string[] {
  return splitScope(oidc.params?.['scope']);
}

export function splitScope(scope: unknown): string[] {
  return typeof scope === 'string' ? scope.split(' ').filter(Boolean) : [];
}

function isClientCredentials({ oidc }: KoaContextWithOIDC): boolean {
  return oidc.params?.['grant_type'] === 'client_credentials';
}

function isAuthorization({ oidc }: KoaContextWithOIDC): boolean {
  return AUTHORIZATION_ROUTES.has(oidc.route);
}

/** A browser can show an error; a device would show a code, and its person would find out at the end. */
function demandScope({ oidc }: KoaContextWithOIDC): void {
  if (oidc.route !== 'device_authorization' || splitScope(oidc.params?.['scope']).length > 0) return;
  throw new errors.InvalidScope('ask for at least one scope', '');
}

function beyond(asked: readonly string[], allowed: ReadonlySet<string>): Error {
  const excess = asked.filter((scope) => !allowed.has(scope)).join(' ');
  return new errors.InvalidScope('this client has not been given every scope that it asks for', excess);
}
