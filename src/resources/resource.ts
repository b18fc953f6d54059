/**
 * Resources: the APIs that tokens are for (RFC 8707), each with the scopes that it understands. A scope exists only
 * inside its resource, is spelled out in words for the person who consents, and never contains a wildcard.
 */
import { sql } from 'kysely';
import { z } from 'zod';
import { json, type Reader, type Tx } from '../db/connection.ts';
import { conflict, notFound } from '../base/refusal.ts';
import { ONE_OF_SIGNING_ALGS, SIGNING_ALGS, type SigningAlg } from '../base/signing_algs.ts';
import { recordChange } from '../changes/change_log.ts';
import type { Change } from '../audit/change.ts';

/** Scopes that OpenID Connect defines; they belong to the server and to no resource. */
export const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'] as const;

const reserved = new Set<string>(OPENID_SCOPES);

const scopeName = z
  .string()
  .min(1, 'must not be empty')
  .max(128, 'must not be longer than 128 characters')
  .regex(
    /^[\x21\x23-\x5B\x5D-\x7E]+$/,
    'must be made of visible ASCII characters without space, quote or backslash (RFC 6749, 3.3)',
  )
  .refine((name) => !name.includes('*'), 'must not contain a wildcard: a client gets exactly the scopes it is given')
  .refine((name) => !reserved.has(name), 'is a scope of OpenID Connect and belongs to the server');

const resourceIdentifier = z
  .string()
  .max(512, 'must not be longer than 512 characters')
  .refine(
    (text) => /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/.test(text) && URL.canParse(text),
    'must be an absolute URI (RFC 8707, 2)',
  )
  .refine((text) => !text.includes('#'), 'must not have a fragment (RFC 8707, 2)')
  .refine(
    (text) => !/^(javascript|data|file|blob|about|vbscript):/.test(text),
    'must be https, http or another scheme that names an API',
  );

const scopes = z
  .array(
    z.strictObject({
      name: scopeName,
      description: z
        .string()
        .trim()
        .min(1, 'must say in words what the scope allows')
        .max(200, 'must not be longer than 200 characters'),
    }),
  )
  .min(1, 'must name at least one scope')
  .max(200, 'must not name more than 200 scopes')
  .refine((all) => new Set(all.map((scope) => scope.name)).size === all.length, 'must not name a scope twice');

const settings = {
  scopes,
  access_token_ttl_seconds: z
    .int('must be a whole number of seconds')
    .min(10, 'must be at least 10 seconds')
    .max(86_400, 'must be at most a day (86400)'),
  signing_alg: z.enum(SIGNING_ALGS, ONE_OF_SIGNING_ALGS),
};

export const NewResource = z.strictObject({
  identifier: resourceIdentifier,
  ...settings,
  access_token_ttl_seconds: settings.access_token_ttl_seconds.default(600),
  signing_alg: settings.signing_alg.default('ES256'),
});
export const ResourceChange = z.strictObject(settings).partial();

export interface Scope {
  readonly name: string;
  readonly description: string;
}

export interface Resource {
  readonly identifier: string;
  readonly scopes: readonly Scope[];
  readonly accessTokenTtlSeconds: number;
  readonly signingAlg: SigningAlg;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export async function createResource(
  { tx, trail, origin, now }: Change,
  given: z.output<typeof NewResource>,
): Promise<Resource> {
  const row = await tx
    .insertInto('resources')
    .values({ ...given, scopes: json(given.scopes), created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!row) throw conflict(`There is a resource ${given.identifier} already.`);
  await trail.recordIn(tx, origin, {
    event: 'resource.created',
    outcome: 'success',
    details: { resource: row.identifier, scopes: row.scopes.map((scope) => scope.name) },
  });
  await recordChange(tx, { topic: 'resource', key: row.identifier }, now);
  return toResource(row);
}

/**
 * Changes a resource that its caller has locked with `lockResource`. A scope that goes away is taken from every
 * client and policy that had it, so that a scope of the same name made later is not theirs.
 */
export async function updateResource(
  { tx, trail, origin, now }: Change,
  resource: Resource,
  given: z.output<typeof ResourceChange>,
): Promise<Resource> {
  const { scopes: newScopes, ...rest } = given;
  const row = await tx
    .updateTable('resources')
    .set({ ...rest, ...(newScopes && { scopes: json(newScopes) }), updated_at: now, version: resource.version + 1 })
    .where('identifier', '=', resource.identifier)
    .returningAll()
    .executeTakeFirstOrThrow();
  if (newScopes) {
    const remaining = new Set(newScopes.map((scope) => scope.name));
    await takeFromClients(tx, resource, remaining, now);
    await takeFromGrantPolicies(tx, resource, remaining);
  }
  await trail.recordIn(tx, origin, {
    event: 'resource.updated',
    outcome: 'success',
    details: {
      resource: resource.identifier,
      members: Object.keys(given),
      scopes: row.scopes.map((scope) => scope.name),
    },
  });
  await recordChange(tx, { topic: 'resource', key: resource.identifier }, now);
  return toResource(row);
}

/** Refuses with `conflict` while a client or a policy still names it: take it from them first. */
export async function deleteResource({ tx, trail, origin, now }: Change, resource: Resource): Promise<void> {
  const { identifier } = resource;
  const holders = await tx
    .selectFrom('client_resources')
    .select('client_id')
    .where('resource', '=', identifier)
    .limit(3)
    .execute();
  if (holders.length > 0) {
    const names = holders.map((holder) => holder.client_id).join(', ');
    throw conflict(`Clients may still ask for ${identifier} (${names}); take it from them first.`);
  }
  const grantPolicy = await tx
    .selectFrom('grant_policies')
    .select('policy_id')
    .where(({ or, eb }) => or([eb('resource', '=', identifier), eb('subject_resource', '=', identifier)]))
    .limit(1)
    .executeTakeFirst();
  if (grantPolicy) throw conflict(`Policies still name ${identifier} (${grantPolicy.policy_id}); delete them first.`);
  const types = await tx
    .selectFrom('authorization_details_type_resources')
    .select('type')
    .where('resource', '=', identifier)
    .limit(3)
    .execute();
  if (types.length > 0) {
    const names = types.map(({ type }) => type).join(', ');
    throw conflict(`Types of authorization details are for ${identifier} (${names}); take it from them first.`);
  }
  const policies = await tx
    .selectFrom('registration_policy_resources')
    .select('policy')
    .where('resource', '=', identifier)
    .limit(3)
    .execute();
  if (policies.length > 0) {
    const names = policies.map(({ policy }) => policy).join(', ');
    throw conflict(`Registration policies give ${identifier} (${names}); take it out of them first.`);
  }
  const readers = await tx
    .selectFrom('client_introspects')
    .select('client_id')
    .where('resource', '=', identifier)
    .execute();
  await tx.deleteFrom('resources').where('identifier', '=', identifier).execute();
  await trail.recordIn(tx, origin, {
    event: 'resource.deleted',
    outcome: 'success',
    details: { resource: identifier },
  });
  await recordChange(tx, { topic: 'resource', key: identifier }, now);
  for (const { client_id } of readers) await recordChange(tx, { topic: 'client', key: client_id }, now);
}

/** The resource, locked against other changes until the transaction ends. */
export async function lockResource(tx: Tx, identifier: string): Promise<Resource> {
  const row = await tx
    .selectFrom('resources')
    .selectAll()
    .where('identifier', '=', identifier)
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw notFound(`There is no resource ${identifier}.`);
  return toResource(row);
}

export async function findResource(reader: Reader, identifier: string): Promise<Resource | undefined> {
  const row = await reader.selectFrom('resources').selectAll().where('identifier', '=', identifier).executeTakeFirst();
  return row && toResource(row);
}

export interface ResourcePage {
  readonly limit: number;
  /** The identifier that the page before this one ended with. */
  readonly after?: string | undefined;
}

/** Resources in the order of their identifiers. */
export async function readResources(reader: Reader, { limit, after }: ResourcePage): Promise<Resource[]> {
  let rows = reader.selectFrom('resources').selectAll().orderBy('identifier').limit(limit);
  if (after !== undefined) rows = rows.where('identifier', '>', after);
  return (await rows.execute()).map(toResource);
}

export async function listResources(reader: Reader): Promise<Resource[]> {
  const rows = await reader.selectFrom('resources').selectAll().orderBy('identifier').execute();
  return rows.map(toResource);
}

async function takeFromClients(tx: Tx, resource: Resource, remaining: ReadonlySet<string>, now: Date): Promise<void> {
  if (resource.scopes.every((scope) => remaining.has(scope.name))) return;
  await takeFromRegistrationPolicies(tx, resource, remaining, now);
  const holders = await tx
    .selectFrom('client_resources')
    .selectAll()
    .where('resource', '=', resource.identifier)
    .forUpdate()
    .execute();
  for (const holder of holders) {
    const kept = holder.scopes.filter((scope) => remaining.has(scope));
    if (kept.length === holder.scopes.length) continue;
    const where = { client_id: holder.client_id, resource: resource.identifier };
    if (kept.length === 0) {
      await tx
        .deleteFrom('client_resources')
        .where((eb) => eb.and(where))
        .execute();
    } else {
      await tx
        .updateTable('client_resources')
        .set({ scopes: kept })
        .where((eb) => eb.and(where))
        .execute();
    }
    await recordChange(tx, { topic: 'client', key: holder.client_id }, now);
  }
}

async function takeFromGrantPolicies(
  tx: Tx,
  { identifier, scopes: before }: Resource,
  remaining: ReadonlySet<string>,
): Promise<void> {
  const gone = before.map((scope) => scope.name).filter((name) => !remaining.has(name));
  if (gone.length === 0) return;
  await sql`delete from grant_policy_scopes as rule using grant_policies as policy
    where rule.policy_id = policy.policy_id
      and (policy.resource = ${identifier} and rule.scope = any(${gone}::text[])
        or policy.subject_resource = ${identifier} and rule.from_scope = any(${gone}::text[]))`.execute(tx);
}

async function takeFromRegistrationPolicies(
  tx: Tx,
  resource: Resource,
  remaining: ReadonlySet<string>,
  now: Date,
): Promise<void> {
  const holders = await tx
    .selectFrom('registration_policy_resources')
    .selectAll()
    .where('resource', '=', resource.identifier)
    .forUpdate()
    .execute();
  for (const holder of holders) {
    const kept = holder.scopes.filter((scope) => remaining.has(scope));
    if (kept.length === holder.scopes.length) continue;
    const where = { policy: holder.policy, resource: resource.identifier };
    await tx
      .deleteFrom('registration_policy_resources')
      .where((eb) => eb.and(where))
      .execute();
    if (kept.length > 0) {
      await tx
        .insertInto('registration_policy_resources')
        .values({ ...where, scopes: kept })
        .execute();
    }
    await recordChange(tx, { topic: 'registration_policy', key: holder.policy }, now);
  }
}

interface ResourceRow {
  identifier: string;
  scopes: { name: string; description: string }[];
  access_token_ttl_seconds: number;
  signing_alg: SigningAlg;
  version: number;
  created_at: Date;
  updated_at: Date;
}

function toResource(row: ResourceRow): Resource {
  return {
    identifier: row.identifier,
    scopes: row.scopes,
    accessTokenTtlSeconds: row.access_token_ttl_seconds,
    signingAlg: row.signing_alg,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
