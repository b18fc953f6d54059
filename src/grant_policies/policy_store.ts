/** Creates, changes, deletes and reads grant policies. Writes run in the caller's transaction. */
import type { z } from 'zod';
import { jsonArrayFrom } from 'kysely/helpers/postgres';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues, type ChangedValues } from '../audit/changed_values.ts';
import { randomId } from '../base/ids.ts';
import { conflict, invalid, notFound, Refused } from '../base/refusal.ts';
import { normalUri } from '../base/uri.ts';
import { inPlainWords, violationsOf } from '../base/violations.ts';
import type { Reader, Tx } from '../db/connection.ts';
import { isExternal, type Grant, type Mode, type Policy, type PolicyTerms, type SubjectAccount } from './policy.ts';

const NOUN = { token_exchange: 'exchange_policy', jwt_bearer: 'assertion_policy' } as const;

/**
 * Creates a policy. Throws `conflict` if the client has one for the same subjects and resource, `invalid` if the terms
 * name an unknown client, resource, scope or issuer.
 */
export async function createPolicy(change: UnitOfWork, given: PolicyTerms): Promise<Policy> {
  const { tx, now } = change;
  const terms = await requireKnown(tx, given);
  const policyId = randomId('policy');
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('grant_policies')
    .values({ policy_id: policyId, ...stored(terms), created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows === 0n)
    throw conflict('This client already has a policy for these subjects and this resource; change that one.');
  await storeScopes(tx, policyId, terms);
  await record(change, policyId, 'created', terms);
  return existing(tx, terms.grant, policyId);
}

/** Merges `patch` into the policy's members (RFC 7396); `schema` validates the result as a whole. */
export async function updatePolicy(
  change: UnitOfWork,
  policy: Policy,
  members: object,
  patch: Readonly<Record<string, unknown>>,
  schema: z.ZodType<PolicyTerms>,
): Promise<Policy> {
  const { tx, now } = change;
  const merged = Object.entries({ ...members, ...patch }).filter(([, value]) => value !== null);
  const { data, error } = schema.safeParse(Object.fromEntries(merged), { error: inPlainWords });
  if (!data) throw new Refused({ reason: 'invalid', violations: violationsOf(error) });
  const terms = await requireKnown(tx, data);
  await tx
    .updateTable('grant_policies')
    .set({ ...stored(terms), updated_at: now, version: policy.version + 1 })
    .where('policy_id', '=', policy.policyId)
    .execute();
  await tx.deleteFrom('grant_policy_scopes').where('policy_id', '=', policy.policyId).execute();
  await storeScopes(tx, policy.policyId, terms);
  const values = changedValues(RECORDED_MEMBERS, recordedOf(policy), recordedOf(terms));
  await record(change, policy.policyId, { members: Object.keys(patch), ...values }, terms);
  return existing(tx, policy.grant, policy.policyId);
}

export async function deletePolicy(change: UnitOfWork, policy: Policy): Promise<void> {
  await change.tx.deleteFrom('grant_policies').where('policy_id', '=', policy.policyId).execute();
  await record(change, policy.policyId, 'deleted', policy);
}

/** Reads the policy and locks it against changes until the transaction ends. */
export async function lockPolicy(tx: Tx, grant: Grant, policyId: string): Promise<Policy> {
  const locked = await tx
    .selectFrom('grant_policies')
    .select('policy_id')
    .where('policy_id', '=', policyId)
    .where('grant_type', '=', grant)
    .forUpdate()
    .executeTakeFirst();
  if (!locked) throw noSuchPolicy();
  return existing(tx, grant, policyId);
}

export async function findPolicy(reader: Reader, grant: Grant, policyId: string): Promise<Policy | undefined> {
  const row = await query(reader, grant).where('policy_id', '=', policyId).executeTakeFirst();
  return row && toPolicy(row);
}

export function noSuchPolicy(): Refused {
  return notFound('Policy not found.');
}

/** All policies of a client. Read at every request, so that a deleted policy has no effect on any node. */
export async function readPoliciesOf(reader: Reader, grant: Grant, clientId: string): Promise<Policy[]> {
  return (await query(reader, grant).where('client_id', '=', clientId).execute()).map(toPolicy);
}

export interface PolicyPage {
  readonly limit: number;
  readonly after?: { readonly createdAt: Date; readonly policyId: string } | undefined;
  readonly clientId?: string | undefined;
}

/** Lists policies in order of creation. */
export async function readPolicies(
  reader: Reader,
  grant: Grant,
  { limit, after, clientId }: PolicyPage,
): Promise<Policy[]> {
  let rows = query(reader, grant).orderBy('created_at').orderBy('policy_id').limit(limit);
  if (clientId !== undefined) rows = rows.where('client_id', '=', clientId);
  if (after)
    rows = rows.where(({ eb, refTuple, tuple }) =>
      eb(refTuple('created_at', 'policy_id'), '>', tuple(after.createdAt, after.policyId)),
    );
  return (await rows.execute()).map(toPolicy);
}

function query(reader: Reader, grant: Grant) {
  return reader
    .selectFrom('grant_policies')
    .selectAll('grant_policies')
    .select((policy) =>
      jsonArrayFrom(
        policy
          .selectFrom('grant_policy_scopes')
          .select(['scope', 'from_scope'])
          .whereRef('grant_policy_scopes.policy_id', '=', 'grant_policies.policy_id')
          .orderBy('scope')
          .orderBy('from_scope'),
      ).as('scopes'),
    )
    .where('grant_type', '=', grant);
}

type Row = Awaited<ReturnType<ReturnType<typeof query>['executeTakeFirstOrThrow']>>;

async function existing(tx: Tx, grant: Grant, policyId: string): Promise<Policy> {
  const policy = await findPolicy(tx, grant, policyId);
  if (!policy) throw noSuchPolicy();
  return policy;
}

/**
 * Returns the terms with the identifiers of resources as they are registered. Refuses unknown references, and locks the
 * referenced rows so that they can't be deleted before the commit.
 */
async function requireKnown(tx: Tx, terms: PolicyTerms): Promise<PolicyTerms> {
  const { clientId, subject, scopes, grant } = terms;
  const client = await tx
    .selectFrom('clients')
    .select('client_id')
    .where('client_id', '=', clientId)
    .forKeyShare()
    .executeTakeFirst();
  if (!client) throw invalid('/client_id', 'must be the id of a registered client');
  const target = await lockNamed(tx, terms.resource, '/resource');
  const known = { ...terms, resource: target.identifier };
  refuseUnknownScopes(
    scopes.map(({ scope }) => scope),
    target,
  );
  if (!isExternal(subject)) {
    const source = await lockNamed(tx, subject.resource, '/subject_resource');
    refuseUnknownScopes(
      scopes.map(({ from, scope }) => from ?? scope),
      source,
    );
    return { ...known, subject: { resource: source.identifier } };
  }
  const issuer = await tx
    .selectFrom('trusted_issuers')
    .select('issuer')
    .where('issuer', '=', subject.issuer)
    .forKeyShare()
    .executeTakeFirst();
  const member = grant === 'jwt_bearer' ? '/issuer' : '/subject_issuer';
  if (!issuer) throw invalid(member, 'must be a trusted issuer');
  return known;
}

interface NamedResource {
  readonly identifier: string;
  readonly scopes: readonly { readonly name: string }[];
}

async function lockNamed(tx: Tx, resource: string, pointer: string): Promise<NamedResource> {
  const row = await tx
    .selectFrom('resources')
    .select(['identifier', 'scopes'])
    .where('normal_form', '=', normalUri(resource))
    .forShare()
    .executeTakeFirst();
  if (!row) throw invalid(pointer, 'must be a registered resource');
  return row;
}

function refuseUnknownScopes(named: readonly string[], { identifier, scopes }: NamedResource): void {
  const known = new Set(scopes.map(({ name }) => name));
  const unknown = named.filter((scope) => !known.has(scope));
  if (unknown.length > 0)
    throw invalid('/scopes', `must only name scopes of ${identifier}; unknown: ${unknown.join(' ')}`);
}

async function storeScopes(tx: Tx, policyId: string, { scopes }: PolicyTerms): Promise<void> {
  await tx
    .insertInto('grant_policy_scopes')
    .values(scopes.map(({ scope, from }) => ({ policy_id: policyId, scope, from_scope: from ?? null })))
    .execute();
}

async function record(
  { tx, trail, origin }: UnitOfWork,
  policyId: string,
  what: 'created' | 'deleted' | (ChangedValues & { readonly members: readonly string[] }),
  { grant, clientId, subject, resource, scopes, mode }: PolicyTerms,
): Promise<void> {
  const details = {
    policy_id: policyId,
    ...(isExternal(subject)
      ? { subject_issuer: subject.issuer, subject_account: subject.account }
      : { subject_resource: subject.resource }),
    resource,
    scopes: scopes.map(({ scope }) => scope),
    mode,
  };
  const about = { outcome: 'success', clientId } as const;
  await trail.recordIn(
    tx,
    origin,
    typeof what === 'string'
      ? { event: `${NOUN[grant]}.${what}`, ...about, details }
      : { event: `${NOUN[grant]}.updated`, ...about, details: { ...what, ...details } },
  );
}

const RECORDED_MEMBERS = [
  'subject_resource',
  'subject_issuer',
  'subject_account',
  'email_domains',
  'subjects',
  'resource',
  'scopes',
  'mode',
  'max_ttl_seconds',
];

/** The values of a policy that the audit trail keeps when it changes. */
function recordedOf({ subject, resource, scopes, mode, maxTtlSeconds }: PolicyTerms) {
  const of = isExternal(subject)
    ? {
        subject_issuer: subject.issuer,
        subject_account: subject.account,
        email_domains: subject.emailDomains,
        subjects: subject.subjects,
      }
    : { subject_resource: subject.resource };
  return { ...of, resource, scopes, mode, max_ttl_seconds: maxTtlSeconds };
}

function stored({ grant, clientId, subject, resource, mode, maxTtlSeconds }: PolicyTerms) {
  const outside = isExternal(subject) ? subject : undefined;
  return {
    grant_type: grant,
    client_id: clientId,
    subject_resource: isExternal(subject) ? null : subject.resource,
    subject_issuer: outside?.issuer ?? null,
    subject_account: outside?.account ?? null,
    email_domains: [...(outside?.emailDomains ?? [])],
    subjects: outside?.subjects ? [...outside.subjects] : null,
    resource,
    mode,
    max_ttl_seconds: maxTtlSeconds,
  };
}

/** The table's constraints ensure which columns are set together, so the casts are safe. */
function toPolicy(row: Row): Policy {
  return {
    policyId: row.policy_id,
    grant: row.grant_type as Grant,
    clientId: row.client_id,
    subject:
      row.subject_issuer === null
        ? { resource: row.subject_resource! }
        : {
            issuer: row.subject_issuer,
            account: row.subject_account as SubjectAccount,
            emailDomains: row.email_domains,
            subjects: row.subjects ?? undefined,
          },
    resource: row.resource,
    scopes: row.scopes.map(({ scope, from_scope }) => ({ scope, from: from_scope ?? undefined })),
    mode: row.mode as Mode | null,
    maxTtlSeconds: row.max_ttl_seconds,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
