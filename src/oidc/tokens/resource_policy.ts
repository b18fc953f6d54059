/**
 * The library's questions about resources and scopes (RFC 8707). The decisions are those of issuance/scope_decision.ts; a
 * client that asks for more than it was given is told so (`invalid_scope`, `invalid_target`).
 */
import { errors, type Client, type KoaContextWithOIDC, type ResourceServer } from 'oidc-provider';
import type { ClaimMapping } from '../../base/claim_mappings.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { OPENID_SCOPES, type Resource } from '../../resources/resource.ts';
import type { Memberships } from '../../roles/memberships.ts';
import type { Permits, RoleDirectory } from '../../roles/role_directory.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import type { AuthorizationDetailsPolicy } from '../authorization/authorization_details.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { accessTokenSeconds } from '../issuance/access_token.ts';
import {
  allowedScopes,
  clientCredentialsEntitlement,
  decideScope,
  fittingResources,
  grantedEntitlement,
  type Entitlement,
} from '../issuance/scope_decision.ts';
import { userinfoIdentifier } from '../../resources/own_identifiers.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';
import { askedClaims, dataForApi, narrowedClaims } from '../issuance/single_claims.ts';
import { personIn } from '../provider/library_types.ts';
import { sourceOf } from '../request/token_source.ts';
import { NothingPermitted } from '../authorization/nothing_permitted.ts';
import {
  mayAddUserinfo,
  readAudience,
  scopesAboutPerson,
  userinfoScopes,
  type GrantedScopes,
} from '../issuance/userinfo_audience.ts';

const openid = new Set<string>(OPENID_SCOPES);

const AUTHORIZATION_ROUTES = new Set([
  'authorization',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
]);
/** Here a request goes on that was made before; an admin may have taken scopes from the client since. */
const CONTINUED_ROUTES = new Set(['resume', 'code_verification', 'device_resume']);

export interface SortedScopes {
  readonly openid: readonly string[];
  /** Claims that the client asks for one by one. */
  readonly claims: readonly string[];
  readonly resources: Readonly<Record<string, readonly string[]>>;
}

export interface ResourcePolicySettings {
  readonly issuer: string;
  readonly resources: ResourceDirectory;
  readonly roles: RoleDirectory;
  readonly details: AuthorizationDetailsPolicy;
}

export class ResourcePolicy {
  readonly #resources: ResourceDirectory;
  readonly #details: AuthorizationDetailsPolicy;
  readonly #roles: RoleDirectory;
  readonly #issuer: string;
  readonly #userinfo: string;

  constructor({ issuer, resources, roles, details }: ResourcePolicySettings) {
    this.#issuer = issuer;
    this.#roles = roles;
    this.#userinfo = userinfoIdentifier(issuer);
    this.#resources = resources;
    this.#details = details;
  }

  /** The resource for a request that names none (RFC 8707 leaves it to the server): the only one that can be meant. */
  defaultResource = (
    ctx: KoaContextWithOIDC,
    client: Client,
    granted?: readonly string[],
  ): string | string[] | undefined => {
    if (granted) {
      // userinfo goes with the one API; of several APIs the client must say which the token is for
      const [api, ...others] = granted.filter((resource) => resource !== this.#userinfo);
      return api !== undefined && others.length === 0 ? api : [...granted];
    }
    const record = recordOf(client);
    narrowOpenid(ctx, record);
    demandScope(ctx);
    const asked = scopesAskedFor(ctx).filter((scope) => !openid.has(scope));
    const details = this.#details.resourcesAskedFor(ctx);
    if (asked.length === 0 && details.length === 0 && !isClientCredentials(ctx)) return undefined;
    const fitting = fittingResources(record, asked, this.#find).filter(({ resource }) =>
      details.every((itsResources) => itsResources.includes(resource.identifier)),
    );
    if (fitting.length === 1) {
      const { resource } = fitting[0]!;
      const forUserinfo = asked.length > 0 && this.#mayAskForBoth(ctx, record, resource);
      return forUserinfo ? [resource.identifier, this.#userinfo] : resource.identifier;
    }
    if (fitting.length > 1)
      throw new errors.InvalidTarget('this client may use several resources: name one with the resource parameter');
    if (details.length > 0)
      throw new errors.InvalidTarget(
        'no one resource takes all of the request: name several with the resource parameter',
      );
    if (asked.length === 0) throw new errors.InvalidTarget('this client has been given no resource');
    const allowed = new Set(record.metadata.resources.flatMap(({ resource }) => [...this.#allowed(record, resource)]));
    if (asked.every((scope) => allowed.has(scope))) throw new errors.InvalidTarget(ofSeveralResources(ctx));
    throw beyond(asked, allowed);
  };

  /**
   * The scopes of a request, each where it belongs, as far as the client has been given them and, where the person is
   * known, the person may have them.
   */
  sort(client: Client, params: Readonly<Record<string, unknown>>, memberships?: Memberships): SortedScopes {
    const record = recordOf(client);
    const { metadata } = record;
    const { claims } = params;
    const asked = splitScope(params['scope']);
    const named = [params['resource']].flat().filter((value) => typeof value === 'string');
    const apis = named.filter((resource) => resource !== this.#userinfo);
    const ofResource = (resource: string): string[] => {
      const allowed = this.#allowed(record, resource);
      const own = asked.filter((scope) => allowed.has(scope));
      const permits = memberships && this.#roles.permits(resource, memberships);
      const permitted = permits ? own.filter(permits) : own;
      // an API of which the person may have nothing gets no token, and so reads nothing
      const isEmptied = own.length > 0 && permitted.length === 0;
      const data = !isEmptied && this.#addsUserinfo(record, named) ? dataForApi(metadata, asked, claims) : [];
      return [...permitted, ...data];
    };
    const inBoth = [...askedClaims(metadata, claims, 'userinfo'), ...askedClaims(metadata, claims, 'id_token')];
    return {
      openid: stillRegistered(metadata, asked).filter((scope) => openid.has(scope)),
      claims: [...new Set(inBoth)],
      resources: Object.fromEntries(apis.map((resource) => [resource, ofResource(resource)])),
    };
  }

  /** Returns a resource's identifier as it is registered, for any way to write it (RFC 3986, 6.2). */
  registered = (uri: string): string => this.#resources.registered(uri);

  /** Called for each resource of a request; refuses what this client was not given. */
  resourceServer = (ctx: KoaContextWithOIDC, identifier: string, client: Client): ResourceServer => {
    const record = recordOf(client);
    if (identifier === this.#userinfo) return this.#userinfoServer(ctx, record);
    const resource = this.#resources.get(identifier);
    const allowed = this.#allowed(record, identifier);
    if (!resource || allowed.size === 0) throw new errors.InvalidTarget('this client has not been given the resource');
    const server = asServer(record, resource, allowed);
    narrowOpenid(ctx, record);
    // the library asks the person about them as about scopes of the API
    if (this.#addsUserinfo(record, ctx.oidc.params?.['resource']) && isBeforeConsent(ctx))
      server.scope = [...allowed, ...scopesAboutPerson(scopesAskedFor(ctx))].join(' ');
    demandScope(ctx);
    if (isClientCredentials(ctx)) settleClientCredentialsScope(ctx, allowed);
    else if (isAuthorization(ctx)) {
      if (record.registration) settleScope(ctx, allowed);
      this.#refuseBeyondRequested(ctx, record);
    } else if (ctx.oidc.route === 'token') {
      const permits = this.#roles.permits(identifier, personIn(ctx).memberships);
      if (permits) {
        demandPermitted(ctx, identifier, { allowed, permits, isAdmitted: this.#admits(identifier, permits) });
        server.scope = [...allowed].filter(permits).join(' ');
      }
    }
    return server;
  };

  /** Throws `AccessDenied` if the person may have none of what the refresh token is for. Call it before the token is used. */
  demandPermitted(ctx: KoaContextWithOIDC): void {
    const api = readAudience(ctx.oidc.params?.['resource'] ?? sourceOf(ctx)?.resource, this.#issuer)?.api;
    const permits = api === undefined ? undefined : this.#roles.permits(api, personIn(ctx).memberships);
    if (!permits) return;
    const allowed = this.#allowed(recordOf(ctx.oidc.client!), api!);
    demandPermitted(ctx, api!, { allowed, permits, isAdmitted: this.#admits(api!, permits) });
  }

  /** A resource with these scopes, as far as it still has them: for grants whose own policy says what a client may have. */
  serverFor(client: Client, identifier: string, scopes: ReadonlySet<string>): ResourceServer | undefined {
    const resource = this.#resources.get(identifier);
    if (!resource) return undefined;
    const existing = resource.scopes.map((scope) => scope.name);
    return asServer(recordOf(client), resource, new Set(existing.filter((scope) => scopes.has(scope))));
  }

  /** What a client gets by client credentials; `undefined` where the request is to be refused with its reason. */
  entitlement(client: ClientWithSecrets, asked: readonly string[], named: string | undefined): Entitlement | undefined {
    const registered = named === undefined ? undefined : this.registered(named);
    return clientCredentialsEntitlement(client, asked, registered, this.#find);
  }

  /** What a client gets of what a person has granted it; `undefined` where no scope is left. */
  granted(
    client: ClientWithSecrets,
    identifier: string,
    { granted, memberships }: { readonly granted: GrantedScopes; readonly memberships: Memberships },
  ): Entitlement | undefined {
    const permits = this.#roles.permits(identifier, memberships);
    return grantedEntitlement(client, granted, { resource: this.#find(identifier), permits, issuer: this.#issuer });
  }

  /** The claims about people that an admin has added to tokens for the resource. */
  claimMappings(identifier: string): readonly ClaimMapping[] {
    return this.#find(identifier)?.claimMappings ?? [];
  }

  /** Whether the person may have some scope of the resource; without one, they get no token for it. */
  admits(identifier: string, memberships: Memberships): boolean {
    const permits = this.#roles.permits(identifier, memberships);
    return !permits || this.#admits(identifier, permits);
  }

  #admits(identifier: string, permits: Permits): boolean {
    return this.#find(identifier)?.scopes.some(({ name }) => permits(name)) ?? false;
  }

  /** Which scopes of the resource a person may have; `undefined` for all. */
  permits(identifier: string, memberships: Memberships): Permits | undefined {
    return this.#roles.permits(identifier, memberships);
  }

  /** The scopes of OpenID Connect that a token for the API and userinfo gives; none if it is for the API alone. */
  userinfoScopes(client: ClientWithSecrets, identifier: string, granted: GrantedScopes): readonly string[] {
    const resource = this.#find(identifier);
    return resource ? userinfoScopes(client, resource, granted, this.#issuer) : [];
  }

  #mayAskForBoth(ctx: KoaContextWithOIDC, record: ClientWithSecrets, resource: Resource): boolean {
    return (
      isAuthorization(ctx) && scopesAskedFor(ctx).includes('openid') && mayAddUserinfo(record, resource, this.#issuer)
    );
  }

  /** Whether the resources of a request are userinfo and an API that permits it. */
  #addsUserinfo(record: ClientWithSecrets, named: unknown): boolean {
    const audience = readAudience(named, this.#issuer);
    const resource = audience?.withUserinfo ? this.#find(audience.api) : undefined;
    return resource !== undefined && mayAddUserinfo(record, resource, this.#issuer);
  }

  /** Userinfo as a resource of a request, besides one API. What the API can read there is among the API's scopes. */
  #userinfoServer(ctx: KoaContextWithOIDC, record: ClientWithSecrets): ResourceServer {
    if (ctx.oidc.route === 'token')
      throw new errors.InvalidTarget('a token for userinfo alone is what a request for no scope of an API gets');
    narrowOpenid(ctx, record);
    const apis = [ctx.oidc.params?.['resource']].flat().filter((one) => one !== this.#userinfo);
    const resource = typeof apis[0] === 'string' ? this.#find(apis[0]) : undefined;
    const isPermitted = apis.length === 1 && resource && this.#mayAskForBoth(ctx, record, resource);
    if (isAuthorization(ctx) && !isPermitted)
      throw new errors.InvalidTarget('userinfo can be named with openid and one API that permits it');
    return { scope: '', audience: this.#userinfo };
  }

  #find = (identifier: string): Resource | undefined => this.#resources.get(identifier);

  #allowed(client: ClientWithSecrets, identifier: string): ReadonlySet<string> {
    return allowedScopes(client, this.#find(identifier));
  }

  #refuseBeyondRequested(ctx: KoaContextWithOIDC, record: ClientWithSecrets): void {
    const named = [ctx.oidc.params?.['resource']].flat().filter((value) => typeof value === 'string');
    const allowed = new Set([...openid, ...named.flatMap((resource) => [...this.#allowed(record, resource)])]);
    const asked = scopesAskedFor(ctx);
    if (asked.some((scope) => !allowed.has(scope))) throw beyond(asked, allowed);
  }
}

/**
 * Some clients request every scope that discovery lists, even those that they are not registered for (sssd does). Of
 * the scopes about a person, this server grants those that the client is registered for (RFC 6749, 3.3), and names them
 * in the `scope` of the answer. Claims that are asked for one by one are left out in the same way, essential or not
 * (OpenID Connect Core, 5.5.1).
 */
function narrowOpenid(ctx: KoaContextWithOIDC, { metadata }: ClientWithSecrets): void {
  const asked = scopesAskedFor(ctx);
  if (metadata.scope === undefined || asked.length === 0 || !isBeforeConsent(ctx)) return;
  const claims = ctx.oidc.params!['claims'];
  if (typeof claims === 'string') ctx.oidc.params!['claims'] = narrowedClaims(metadata, claims);
  const registered = new Set(splitScope(metadata.scope));
  if (asked.includes('openid') && !registered.has('openid')) throw beyond(asked, registered);
  ctx.oidc.params!['scope'] = stillRegistered(metadata, asked).join(' ');
}

/**
 * Throws `AccessDenied` if the person may have none of the scopes that the code or refresh token is for. With
 * authorization details, which are in no role, it is enough that the person may have some scope of the API.
 */
function demandPermitted(
  ctx: KoaContextWithOIDC,
  identifier: string,
  { allowed, permits, isAdmitted }: PersonsScopes,
): void {
  const { oidc } = ctx;
  const source = sourceOf(ctx);
  const asked = oidc.params?.['scope'] === undefined ? (source?.scopes ?? new Set()) : oidc.requestParamScopes;
  const granted = splitScope(oidc.entities.Grant?.getResourceScopeFiltered(identifier, asked)).filter((scope) =>
    allowed.has(scope),
  );
  const isDetailed = source && 'rar' in source && source.rar !== undefined;
  const isPermitted = isDetailed ? isAdmitted : granted.length === 0 || granted.some(permits);
  if (!isPermitted) throw new NothingPermitted();
}

interface PersonsScopes {
  readonly allowed: ReadonlySet<string>;
  readonly permits: Permits;
  readonly isAdmitted: boolean;
}

/** The API as the library needs it for this client: the scopes, the lifetime and the format of its tokens. */
function asServer({ metadata }: ClientWithSecrets, resource: Resource, scopes: ReadonlySet<string>): ResourceServer {
  if (isFapi2(metadata) && !isFapi2Alg(resource.signingAlg)) {
    throw new errors.InvalidTarget(
      `tokens for this resource are signed with ${resource.signingAlg}, which FAPI 2.0 forbids`,
    );
  }
  return {
    scope: [...scopes].join(' '),
    audience: resource.identifier,
    accessTokenTTL: accessTokenSeconds(metadata, resource.accessTokenTtlSeconds),
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: resource.signingAlg } },
  };
}

function settleClientCredentialsScope({ oidc }: KoaContextWithOIDC, allowed: ReadonlySet<string>): void {
  const asked = splitScope(oidc.params?.['scope']);
  // a client that says in detail what it wants has not asked for everything
  if (asked.length === 0 && oidc.params?.['authorization_details'] !== undefined) return;
  const decision = decideScope(asked, allowed);
  if ('excess' in decision) throw beyond(asked, allowed);
  oidc.params!['scope'] = decision.scopes.join(' ');
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

function isClientCredentials({ oidc }: KoaContextWithOIDC): boolean {
  return oidc.params?.['grant_type'] === 'client_credentials';
}

function isAuthorization({ oidc }: KoaContextWithOIDC): boolean {
  return AUTHORIZATION_ROUTES.has(oidc.route);
}

function isBeforeConsent(ctx: KoaContextWithOIDC): boolean {
  return isAuthorization(ctx) || CONTINUED_ROUTES.has(ctx.oidc.route);
}

/** A browser can show an error; a device would show a code, and its person would find out at the end. */
function demandScope({ oidc }: KoaContextWithOIDC): void {
  if (oidc.route !== 'device_authorization' || splitScope(oidc.params?.['scope']).length > 0) return;
  throw new errors.InvalidScope('ask for at least one scope', '');
}

/** A token is for one resource, but a person may be asked for several at once (RFC 8707, 2.1 and 2.2). */
function ofSeveralResources(ctx: KoaContextWithOIDC): string {
  const what = 'no one resource of this client has all of these scopes: ';
  return isAuthorization(ctx)
    ? `${what}name each of their resources with a resource parameter`
    : `${what}send one request for each resource, with its scopes`;
}

function beyond(asked: readonly string[], allowed: ReadonlySet<string>): Error {
  const excess = asked.filter((scope) => !allowed.has(scope)).join(' ');
  return new errors.InvalidScope('this client has not been given every scope that it asks for', excess);
}
