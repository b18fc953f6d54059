/**
 * Metadata members for the resources and authorization details that a client may request, and the tokens that it may
 * introspect.
 */
import { z } from 'zod';
import type { Check } from './check.ts';

export const ResourceAccess = z.strictObject({
  resource: z.string().max(512),
  scopes: z
    .array(z.string().max(128))
    .min(1, 'must name at least one scope')
    .max(200, 'must not name more than 200 scopes')
    .refine((all) => new Set(all).size === all.length, 'must not name a scope twice')
    .refine((all) => !all.some((scope) => scope.includes('*')), 'must not contain a wildcard: name each scope'),
});
export type ResourceAccess = z.output<typeof ResourceAccess>;

/** Returns the union: a resource in both lists gets the scopes of both. */
export function unionOfAccess(one: readonly ResourceAccess[], other: readonly ResourceAccess[]): ResourceAccess[] {
  const scopes = new Map(one.map((access) => [access.resource, new Set(access.scopes)]));
  for (const { resource, scopes: more } of other) {
    scopes.set(resource, new Set([...(scopes.get(resource) ?? []), ...more]));
  }
  return [...scopes].map(([resource, all]) => ({ resource, scopes: [...all] }));
}

/** Returns the access in `one` that is not in `other`. */
export function accessBeyond(one: readonly ResourceAccess[], other: readonly ResourceAccess[]): ResourceAccess[] {
  const scopesOf = new Map(other.map((access) => [access.resource, new Set(access.scopes)]));
  return one
    .map(({ resource, scopes }) => ({
      resource,
      scopes: scopes.filter((scope) => !scopesOf.get(resource)?.has(scope)),
    }))
    .filter(({ scopes }) => scopes.length > 0);
}

/** Returns the access that is in both lists. */
export function commonAccess(one: readonly ResourceAccess[], other: readonly ResourceAccess[]): ResourceAccess[] {
  return accessBeyond(one, accessBeyond(one, other));
}

export const access = {
  resources: z
    .array(ResourceAccess)
    .max(100, 'must not name more than 100 resources')
    .default([])
    .describe('Resources and scopes that the client may request.'),
  introspects: z
    .array(z.string().max(512))
    .max(100)
    .default([])
    .describe('Resources whose tokens this client may introspect.'),
  authorization_details_types: z
    .array(z.string().max(200))
    .max(100)
    .default([])
    .describe('Types of authorization details that the client may request (RFC 9396).'),
};

export const checkAccess: Check<typeof access> = (client, object) => {
  const names = client.resources.map((one) => one.resource);
  if (new Set(names).size !== names.length) object(['resources'], 'must not name a resource twice');
  if (new Set(client.introspects).size !== client.introspects.length)
    object(['introspects'], 'must not name a resource twice');
  if (new Set(client.authorization_details_types).size !== client.authorization_details_types.length)
    object(['authorization_details_types'], 'must not name a type twice');
  if (client.introspects.length > 0 && client.token_endpoint_auth_method === 'none') {
    object(['introspects'], 'must be empty for a client that does not authenticate');
  }
};
