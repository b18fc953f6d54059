/** Stores registration policies. Each function runs in its caller's transaction. */
import { conflict, notFound, Refused } from '../base/refusal.ts';
import { inPlainWords, violationsOf } from '../base/violations.ts';
import type { DetailsOf, EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import { recordChange } from '../invalidation/log.ts';
import { requireResources } from '../clients/resource_check.ts';
import type { ResourceAccess } from '../clients/metadata/access.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';
import { RegistrationPolicy, StoredRegistrationPolicy } from './policy.ts';

export interface StoredPolicy {
  readonly policy: RegistrationPolicy;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Creates a policy. Throws `conflict` if the name exists, or if another policy is already open in the same way. */
export async function createPolicy(change: UnitOfWork, given: RegistrationPolicy): Promise<StoredPolicy> {
  const { tx, now } = change;
  await refuseSecondOpenPolicy(tx, given);
  const { resources } = await requireResources(tx, { resources: given.resources });
  const policy = { ...given, resources };
  const row = await tx
    .insertInto('registration_policies')
    .values({ name: policy.name, ...columns(policy), created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returning('name')
    .executeTakeFirst();
  if (!row) throw conflict(`A registration policy ${policy.name} exists already.`);
  await storeResources(tx, policy);
  await changed(change, policy, {
    event: 'registration_policy.created',
    outcome: 'success',
    details: rightsOf(policy),
  });
  return existing(tx, policy.name);
}

/** A policy holds no secret and nothing personal, so the trail keeps the values of all that a change may change. */
const RECORDED_MEMBERS = Object.keys(StoredRegistrationPolicy.shape).filter((member) => member !== 'name');

/** Applies a JSON merge patch (RFC 7396) to a locked policy; validates the result as a whole. */
export async function updatePolicy(
  change: UnitOfWork,
  stored: StoredPolicy,
  patch: Readonly<Record<string, unknown>>,
): Promise<StoredPolicy> {
  const { tx, now } = change;
  const merged: Record<string, unknown> = { ...stored.policy };
  for (const [member, value] of Object.entries(patch)) {
    if (value === null) delete merged[member];
    else merged[member] = value;
  }
  const parsed = RegistrationPolicy.safeParse(merged, { error: inPlainWords });
  if (!parsed.success) throw new Refused({ reason: 'invalid', violations: violationsOf(parsed.error) });
  await refuseSecondOpenPolicy(tx, parsed.data);
  const { resources } = await requireResources(tx, { resources: parsed.data.resources });
  const policy = { ...parsed.data, resources };
  await tx
    .updateTable('registration_policies')
    .set({ ...columns(policy), version: stored.version + 1, updated_at: now })
    .where('name', '=', policy.name)
    .execute();
  await tx.deleteFrom('registration_policy_resources').where('policy', '=', policy.name).execute();
  await storeResources(tx, policy);
  const details = {
    members: Object.keys(patch),
    ...changedValues(RECORDED_MEMBERS, stored.policy, policy),
    ...rightsOf(policy),
  };
  await changed(change, policy, { event: 'registration_policy.updated', outcome: 'success', details });
  return existing(tx, policy.name);
}

/** Deletes a locked policy with its initial access tokens; throws `conflict` while it has clients. */
export async function deletePolicy(change: UnitOfWork, { policy }: StoredPolicy): Promise<void> {
  const { tx, trail, origin, now } = change;
  const client = await tx
    .selectFrom('client_registrations')
    .select('client_id')
    .where('policy', '=', policy.name)
    .limit(1)
    .executeTakeFirst();
  if (client) {
    throw conflict(`${policy.name} has clients, such as ${client.client_id}; delete them first, or close the policy.`);
  }
  await tx.deleteFrom('registration_policies').where('name', '=', policy.name).execute();
  await trail.recordIn(tx, origin, {
    event: 'registration_policy.deleted',
    outcome: 'success',
    details: { policy: policy.name },
  });
  await recordChange(tx, { topic: 'registration_policy', key: policy.name }, now);
}

/** Reads the policy and locks it against changes and registrations until the transaction ends. */
export async function lockPolicy(tx: Tx, name: string): Promise<StoredPolicy> {
  const locked = await tx
    .selectFrom('registration_policies')
    .select('name')
    .where('name', '=', name)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (!locked) throw notFound('Registration policy not found.');
  return existing(tx, name);
}

export async function findPolicy(reader: Reader, name: string): Promise<StoredPolicy | undefined> {
  const { rows } = await read(reader, (row) => row.where('name', '=', name));
  return rows[0];
}

export interface PolicyPage {
  readonly limit: number;
  readonly after?: string | undefined;
}

/** Lists policies in order of name. */
export async function readPolicies(reader: Reader, { limit, after }: PolicyPage): Promise<readonly StoredPolicy[]> {
  const { rows } = await read(reader, (row) =>
    (after === undefined ? row : row.where('name', '>', after)).limit(limit),
  );
  return rows;
}

type Narrow = (query: ReturnType<typeof all>) => ReturnType<typeof all>;

function all(reader: Reader) {
  return reader.selectFrom('registration_policies').selectAll().orderBy('name');
}

async function read(reader: Reader, narrow: Narrow): Promise<{ readonly rows: readonly StoredPolicy[] }> {
  const found = await narrow(all(reader)).execute();
  if (found.length === 0) return { rows: [] };
  const resources = await reader
    .selectFrom('registration_policy_resources')
    .selectAll()
    .where(
      'policy',
      'in',
      found.map(({ name }) => name),
    )
    .orderBy('resource')
    .execute();
  const rows = found.map((row) => ({
    policy: StoredRegistrationPolicy.parse({
      ...row.settings,
      name: row.name,
      resources: resources
        .filter(({ policy }) => policy === row.name)
        .map(({ resource, scopes }): ResourceAccess => ({ resource, scopes })),
    }),
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }));
  return { rows };
}

async function existing(tx: Tx, name: string): Promise<StoredPolicy> {
  const found = await findPolicy(tx, name);
  if (!found) throw new Error('A locked policy was deleted.');
  return found;
}

function columns({ name: _, resources: __, ...settings }: RegistrationPolicy) {
  return {
    settings: json(settings),
    open_registration: settings.open_registration,
    client_id_metadata_documents: settings.client_id_metadata_documents,
    clients_at_most: settings.clients_at_most,
    unused_client_ttl_seconds: settings.unused_client_ttl_seconds ?? null,
  };
}

/** Unique indexes enforce this too; the error here names the conflicting policy. */
async function refuseSecondOpenPolicy(tx: Tx, policy: RegistrationPolicy): Promise<void> {
  for (const member of ['open_registration', 'client_id_metadata_documents'] as const) {
    if (!policy[member]) continue;
    const other = await tx
      .selectFrom('registration_policies')
      .select('name')
      .where(member, '=', true)
      .where('name', '!=', policy.name)
      .forUpdate()
      .executeTakeFirst();
    if (other) throw conflict(`${other.name} has ${member} already; only one policy can have it.`);
  }
}

async function storeResources(tx: Tx, { name, resources }: RegistrationPolicy): Promise<void> {
  if (resources.length === 0) return;
  await tx
    .insertInto('registration_policy_resources')
    .values(resources.map((one) => ({ policy: name, ...one })))
    .execute();
}

/** The audit details of a policy: what clients may get under it. */
function rightsOf(policy: RegistrationPolicy): DetailsOf<'registration_policy.created'> {
  return {
    policy: policy.name,
    open_registration: policy.open_registration,
    client_id_metadata_documents: policy.client_id_metadata_documents,
    grant_types: policy.grant_types,
    resources: policy.resources.map(({ resource, scopes }) => `${resource} ${scopes.join(' ')}`),
  };
}

async function changed(
  { tx, trail, origin, now }: UnitOfWork,
  policy: RegistrationPolicy,
  what: EventOf<'registration_policy.created' | 'registration_policy.updated'>,
): Promise<void> {
  await trail.recordIn(tx, origin, what);
  await recordChange(tx, { topic: 'registration_policy', key: policy.name }, now);
}
