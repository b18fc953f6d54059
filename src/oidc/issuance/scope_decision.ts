/**
 * Which resource a token is for, and with which scope. A client gets exactly the scopes of exactly the resources that it
 * was given; a request for more is refused and never gets something else instead.
 */
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { Resource } from '../../resources/resource.ts';
import type { Permits } from '../../roles/role_directory.ts';
import { accessTokenSeconds } from './access_token.ts';
import { accessOf, userinfoScopes, type Audience, type GrantedScopes } from './userinfo_audience.ts';

type FindResource = (identifier: string) => Resource | undefined;

/** A resource, and what a token for it is to carry. */
export interface Entitlement {
  readonly resource: Resource;
  readonly audience: Audience;
  readonly scope: string;
  readonly lifetimeSeconds: number;
}

/** What the client has been given of a resource, as far as the resource still has it. */
export function allowedScopes({ metadata }: ClientWithSecrets, resource: Resource | undefined): ReadonlySet<string> {
  if (!resource) return new Set();
  const given = metadata.resources.find((one) => one.resource === resource.identifier)?.scopes ?? [];
  const existing = new Set(resource.scopes.map((scope) => scope.name));
  return new Set(given.filter((scope) => existing.has(scope)));
}

/** The resources of the client that the scopes could be meant for, each with all that the client may have of it. */
export function fittingResources(
  client: ClientWithSecrets,
  asked: readonly string[],
  find: FindResource,
): { readonly resource: Resource; readonly allowed: ReadonlySet<string> }[] {
  return client.metadata.resources.flatMap(({ resource: identifier }) => {
    const resource = find(identifier);
    const allowed = allowedScopes(client, resource);
    return resource && allowed.size > 0 && asked.every((scope) => allowed.has(scope)) ? [{ resource, allowed }] : [];
  });
}

/** Either the scopes of the token, or those that were asked for in excess. */
export type ScopeDecision = { readonly scopes: readonly string[] } | { readonly excess: readonly string[] };

/** No scope asked for is all that may be had (RFC 6749, 3.3); the answer's `scope` says what that is. */
export function decideScope(asked: readonly string[], permitted: ReadonlySet<string>): ScopeDecision {
  if (asked.length === 0) return { scopes: [...permitted] };
  const excess = asked.filter((scope) => !permitted.has(scope));
  return excess.length > 0 ? { excess } : { scopes: [...new Set(asked)] };
}

/** What a request for client credentials gets; `undefined` where it is to be refused. */
export function clientCredentialsEntitlement(
  client: ClientWithSecrets,
  asked: readonly string[],
  named: string | undefined,
  find: FindResource,
): Entitlement | undefined {
  const [only, ...others] = fittingResources(client, asked, find).filter(
    ({ resource }) => named === undefined || resource.identifier === named,
  );
  if (!only || others.length > 0) return undefined;
  const decision = decideScope(asked, only.allowed);
  if (!('scopes' in decision)) return undefined;
  const { resource } = only;
  return entitlement(client, resource, resource.identifier, decision.scopes.join(' '));
}

export interface GrantedFor {
  readonly resource: Resource | undefined;
  /** Which scopes the person may have; `undefined` for all. */
  readonly permits: Permits | undefined;
  readonly issuer: string;
}

/**
 * What a client gets of what a person has granted it for one resource; `undefined` where no scope is left. The
 * library cuts the granted scopes down in the same way, to those of the `ResourceServer` that `allowedScopes` made.
 */
export function grantedEntitlement(
  client: ClientWithSecrets,
  granted: GrantedScopes,
  { resource, permits, issuer }: GrantedFor,
): Entitlement | undefined {
  const allowed = allowedScopes(client, resource);
  const scopes = granted.ofApi.filter((scope) => allowed.has(scope) && (!permits || permits(scope)));
  if (!resource || scopes.length === 0) return undefined;
  const openid = granted.forUserinfo.length === 0 ? [] : userinfoScopes(client, resource, granted, issuer);
  const { audience, scope } = accessOf(resource.identifier, scopes.join(' '), openid, issuer);
  return entitlement(client, resource, audience, scope);
}

function entitlement(
  { metadata }: ClientWithSecrets,
  resource: Resource,
  audience: Audience,
  scope: string,
): Entitlement {
  const lifetimeSeconds = accessTokenSeconds(metadata, resource.accessTokenTtlSeconds);
  return { resource, audience, scope, lifetimeSeconds };
}
