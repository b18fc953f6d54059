/** Creates, changes, deletes and reads resources. Functions that write run in the caller's transaction. */
import type { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import type { RequirableAcr } from '../base/acr_values.ts';
import { conflict, notFound } from '../base/refusal.ts';
import type { ClaimMapping } from '../base/claim_mappings.ts';
import type { SigningAlg } from '../base/signing_algs.ts';
import { normalUri } from '../base/uri.ts';
import { keepSigningKeys } from '../keys/unused_keys.ts';
import { recordChange } from '../invalidation/log.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';
import { endedBefore, orderEndOfRights, refuseWhileRightsAreLeft } from './ended_rights.ts';
import { refuseWhileReferenced } from './references.ts';
import type { Resource, Scope } from './resource.ts';
import type { NewResource, ResourcePatch } from './resource_members.ts';
import { withdrawScopes } from './withdrawn_scopes.ts';

const RECORDED_MEMBERS = [
  'display_name',
  'scopes',
  'access_token_ttl_seconds',
  'signing_alg',
  'userinfo_audience',
  'claim_mappings',
  'required_acr',
];

export async function createResource(
  { tx, trail, origin, now }: UnitOfWork,
  given: z.output<typeof NewResource>,
): Promise<Resource> {
  await keepKeys(tx, given.signing_alg);
  await refuseWhileRightsAreLeft(tx, given.identifier);
  const validFrom = (await endedBefore(tx, given.identifier)).has(null) ? { tokens_valid_from: now } : {};
  const row = await tx
    .insertInto('resources')
    .values({
      ...given,
      ...validFrom,
      scopes: json(given.scopes),
      claim_mappings: json(given.claim_mappings),
      created_at: now,
      updated_at: now,
    })
    .onConflict((clash) => clash.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!row) {
    const existing = await findResource(tx, given.identifier);
    throw conflict(`Resource ${existing?.identifier ?? given.identifier} already exists.`);
  }
  await trail.recordIn(tx, origin, {
    event: 'resource.created',
    outcome: 'success',
    details: { resource: row.identifier, scopes: row.scopes.map((scope) => scope.name) },
  });
  await recordChange(tx, { topic: 'resource', key: row.identifier }, now);
  return toResource(row);
}

/**
 * Changes a resource that the caller has locked with `lockResource`. Removes a deleted scope from every client and
 * policy, and orders the end of all rights for it, so that no right is for a later scope with the same name. Refuses with
 * `conflict` to add a scope whose earlier rights are still being ended.
 */
export async function updateResource(
  { tx, trail, origin, now }: UnitOfWork,
  resource: Resource,
  given: z.output<typeof ResourcePatch>,
): Promise<Resource> {
  const { scopes: newScopes, claim_mappings: mappings, ...rest } = given;
  const scopes = newScopes && (await changedScopes(tx, resource, newScopes, now));
  if (given.signing_alg) await keepKeys(tx, given.signing_alg);
  const row = await tx
    .updateTable('resources')
    .set({
      ...rest,
      ...scopes,
      ...(mappings && { claim_mappings: json(mappings) }),
      updated_at: now,
      version: resource.version + 1,
    })
    .where('identifier', '=', resource.identifier)
    .returningAll()
    .executeTakeFirstOrThrow();
  if (newScopes) await withdrawScopes(tx, resource, newScopes, now);
  await trail.recordIn(tx, origin, {
    event: 'resource.updated',
    outcome: 'success',
    details: {
      resource: resource.identifier,
      members: Object.keys(given),
      ...changedValues(RECORDED_MEMBERS, columnsOf(resource), row),
      scopes: row.scopes.map((scope) => scope.name),
    },
  });
  await recordChange(tx, { topic: 'resource', key: resource.identifier }, now);
  return toResource(row);
}

/** The columns that say which scopes there are, and when those were added whose name a removed one had. */
async function changedScopes(tx: Tx, resource: Resource, scopes: Resource['scopes'], now: Date) {
  const { scopesValidFrom, tokensValidFrom } = resource;
  const added = scopes.map(({ name }) => name).filter((name) => !scopesValidFrom.has(name));
  await refuseWhileRightsAreLeft(tx, resource.identifier, added);
  const ended = await endedBefore(tx, resource.identifier);
  const validFrom = (name: string): Date => scopesValidFrom.get(name) ?? (ended.has(name) ? now : tokensValidFrom);
  const times = scopes.map(({ name }) => [name, validFrom(name).toISOString()] as const);
  return { scopes: json(scopes), scopes_added_at: json(Object.fromEntries(times)) };
}

/** The caller has stored keys that were missing; a node may have removed unused ones since the caller looked. */
async function keepKeys(tx: Tx, alg: SigningAlg): Promise<void> {
  const missing = await keepSigningKeys(tx, [alg]);
  if (missing.size > 0) throw conflict(`This server has no ${alg} keys at this moment; send the request again.`);
}

/**
 * Deletes a resource and orders the end of all rights for it (ended_rights.ts). Refuses with `conflict` while a client or
 * a policy references it.
 */
export async function deleteResource({ tx, trail, origin, now }: UnitOfWork, resource: Resource): Promise<void> {
  const { identifier } = resource;
  await refuseWhileReferenced(tx, identifier);
  const readers = await tx
    .selectFrom('client_introspects')
    .select('client_id')
    .where('resource', '=', identifier)
    .execute();
  await tx.deleteFrom('resources').where('identifier', '=', identifier).execute();
  await orderEndOfRights(tx, identifier, [null], now);
  await trail.recordIn(tx, origin, {
    event: 'resource.deleted',
    outcome: 'success',
    details: { resource: identifier },
  });
  await recordChange(tx, { topic: 'resource', key: identifier }, now);
  for (const { client_id } of readers) await recordChange(tx, { topic: 'client', key: client_id }, now);
}

/**
 * Returns the resource, locked against other changes until the transaction ends. Its identifier may be written in
 * another way than it is registered (RFC 3986, 6.2).
 */
export async function lockResource(tx: Tx, identifier: string): Promise<Resource> {
  const row = await tx
    .selectFrom('resources')
    .selectAll()
    .where('normal_form', '=', normalUri(identifier))
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw notFound(`Resource ${identifier} not found.`);
  return toResource(row);
}

export async function findResource(reader: Reader, identifier: string): Promise<Resource | undefined> {
  const row = await reader
    .selectFrom('resources')
    .selectAll()
    .where('normal_form', '=', normalUri(identifier))
    .executeTakeFirst();
  return row && toResource(row);
}

export interface ResourcePage {
  readonly limit: number;
  /** The last identifier of the previous page. */
  readonly after?: string | undefined;
}

/** Returns a page of resources, ordered by identifier. */
export async function readResources(reader: Reader, { limit, after }: ResourcePage): Promise<Resource[]> {
  let rows = reader.selectFrom('resources').selectAll().orderBy('identifier').limit(limit);
  if (after !== undefined) rows = rows.where('identifier', '>', after);
  return (await rows.execute()).map(toResource);
}

export async function listResources(reader: Reader): Promise<Resource[]> {
  const rows = await reader.selectFrom('resources').selectAll().orderBy('identifier').execute();
  return rows.map(toResource);
}

interface ResourceRow {
  identifier: string;
  display_name: string | null;
  scopes: Scope[];
  access_token_ttl_seconds: number;
  signing_alg: SigningAlg;
  userinfo_audience: boolean;
  claim_mappings: ClaimMapping[];
  scopes_added_at: Record<string, string>;
  tokens_valid_from: Date;
  required_acr: RequirableAcr | null;
  version: number;
  created_at: Date;
  updated_at: Date;
}

function columnsOf({
  displayName,
  scopes,
  accessTokenTtlSeconds,
  signingAlg,
  userinfoAudience,
  claimMappings,
  requiredAcr,
}: Resource) {
  return {
    display_name: displayName,
    scopes,
    access_token_ttl_seconds: accessTokenTtlSeconds,
    signing_alg: signingAlg,
    userinfo_audience: userinfoAudience,
    claim_mappings: claimMappings,
    required_acr: requiredAcr,
  };
}

function toResource(row: ResourceRow): Resource {
  return {
    identifier: row.identifier,
    displayName: row.display_name,
    scopes: row.scopes,
    tokensValidFrom: row.tokens_valid_from,
    scopesValidFrom: new Map(
      row.scopes.map(({ name }) => {
        const added = row.scopes_added_at[name];
        return [name, added === undefined ? row.tokens_valid_from : new Date(added)];
      }),
    ),
    accessTokenTtlSeconds: row.access_token_ttl_seconds,
    signingAlg: row.signing_alg,
    userinfoAudience: row.userinfo_audience,
    claimMappings: row.claim_mappings,
    requiredAcr: row.required_acr,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
