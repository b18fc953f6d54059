/** Creates, changes, revokes, restores and deletes clients, in the caller's transaction. */
import { randomInt } from 'node:crypto';
import { randomId } from '../base/ids.ts';
import { conflict, invalid, notFound, Refused } from '../base/refusal.ts';
import { inPlainWords, violationsOf } from '../base/violations.ts';
import type { DetailsOf, EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import { recordChange } from '../invalidation/log.ts';
import { json, type Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import type { Client, ClientWithSecrets } from './client.ts';
import { readClient } from './client_rows.ts';
import { accessBeyond, commonAccess, unionOfAccess } from './metadata/access.ts';
import { usesSecret } from './metadata/client_authentication.ts';
import { requireGroups } from './group_check.ts';
import { requireResources } from './resource_check.ts';
import { ClientMetadata } from './metadata/client_metadata.ts';
import { RECORDED_MEMBERS } from './metadata/recorded_members.ts';
import { requireSector, type SectorDocument } from './sector.ts';
import { sectorOf } from './subject.ts';
import { requireSigningKeys } from './response_signing_algs.ts';

/** First generations are below this number; the rest of the column's range is for revocations. */
const FIRST_GENERATIONS = 2 ** 30;

/**
 * Creates a client. `clientId` is only for clients that the server creates at its first start; `sector` is the result
 * of `readSector` for this metadata. Throws `Refused`.
 */
export async function createClient(
  work: UnitOfWork,
  metadata: ClientMetadata,
  clientId?: string,
  sector?: SectorDocument,
): Promise<Client> {
  return existing(work.tx, await addClient(work, metadata, { clientId, sector }));
}

/** Creates a client and returns only its id. */
export async function addClient(
  work: UnitOfWork,
  given: ClientMetadata,
  {
    clientId: chosen,
    sector,
  }: { readonly clientId?: string | undefined; readonly sector?: SectorDocument | undefined },
): Promise<string> {
  const { tx, now } = work;
  await requireSigningKeys(tx, given);
  requireSector(given, sector);
  const clientId = chosen ?? randomId('client');
  const insert = tx.insertInto('clients').values({
    client_id: clientId,
    ...columnsOf(given),
    // a client_id that is a URL may have existed before: tokens from that time must stay invalid
    token_generation: randomInt(1, FIRST_GENERATIONS),
    created_at: now,
    updated_at: now,
  });
  if (chosen === undefined) await sendIn(tx, insert);
  else {
    const row = await insert
      .onConflict((clash) => clash.doNothing())
      .returning('client_id')
      .executeTakeFirst();
    if (!row) throw conflict(`Client ${clientId} already exists.`);
  }
  const metadata = asRegistered(given, await storeAccess(work, clientId, given));
  await changed(work, clientId, { event: 'client.created', outcome: 'success', details: rightsOf(metadata) });
  await recordExemptions(work, clientId, metadata);
  return clientId;
}

/** Returns the client, locked against other changes until the transaction ends. */
export async function lockClient(tx: Tx, clientId: string): Promise<ClientWithSecrets> {
  // two statements, so that the read sees what the transaction before has committed
  await sendIn(tx, tx.selectFrom('clients').select('client_id').where('client_id', '=', clientId).forUpdate());
  return existing(tx, clientId);
}

/**
 * Applies a JSON merge patch (RFC 7396) to a locked client's metadata and validates the result as a whole. `sector` is
 * the result of `readSector` for that metadata. Throws `Refused`.
 */
export async function updateClient(
  work: UnitOfWork,
  client: ClientWithSecrets,
  patch: Readonly<Record<string, unknown>>,
  sector?: SectorDocument,
): Promise<Pick<Client, 'clientId' | 'metadata'>> {
  const { tx, now } = work;
  const patched = applyPatch(client.metadata, patch);
  if (client.registration && patched.first_party)
    throw invalid('/first_party', 'is not allowed for a client that registered itself');
  requireSector(patched, sector, client.metadata);
  // a refreshed ID token would otherwise have another `sub` (OpenID Connect Core, 12.2)
  if (sectorOf(patched) !== sectorOf(client.metadata)) await endGrants(tx, client.clientId);
  await requireSigningKeys(tx, patched, client.metadata);
  if (usesSecret(client.metadata) && !usesSecret(patched)) {
    await sendIn(
      tx,
      tx
        .updateTable('client_secrets')
        .set({ ended_at: now })
        .where('client_id', '=', client.clientId)
        .where('ended_at', 'is', null),
    );
  }
  await sendIn(
    tx,
    tx
      .updateTable('clients')
      .set({ ...columnsOf(patched), updated_at: now, version: client.version + 1 })
      .where('client_id', '=', client.clientId),
  );
  await sendIn(tx, tx.deleteFrom('client_resources').where('client_id', '=', client.clientId));
  await sendIn(tx, tx.deleteFrom('client_introspects').where('client_id', '=', client.clientId));
  await sendIn(tx, tx.deleteFrom('client_authorization_details_types').where('client_id', '=', client.clientId));
  const own = { ...patched, resources: ownAccess(client, patched.resources) };
  const typesBefore = client.metadata.authorization_details_types;
  const metadata = asRegistered(patched, await storeAccess(work, client.clientId, own, typesBefore));
  const details = {
    members: Object.keys(patch),
    ...changedValues(RECORDED_MEMBERS, client.metadata, metadata),
    ...rightsOf(metadata),
  };
  await changed(work, client.clientId, { event: 'client.updated', outcome: 'success', details });
  await recordExemptions(work, client.clientId, metadata, client.metadata);
  return { clientId: client.clientId, metadata };
}

/** Returns the access that belongs to the client itself, without what only its policy grants. */
function ownAccess({ registration }: Client, resources: ClientMetadata['resources']): ClientMetadata['resources'] {
  if (!registration) return resources;
  return unionOfAccess(accessBeyond(resources, registration.fromPolicy), commonAccess(registration.given, resources));
}

/** Returns the metadata with the patch applied. Throws `Refused` if the result is invalid. */
export function applyPatch(metadata: ClientMetadata, patch: Readonly<Record<string, unknown>>): ClientMetadata {
  const merged: Record<string, unknown> = { ...metadata };
  // response types follow from the grant types, unless the patch names them
  if ('grant_types' in patch && !('response_types' in patch)) delete merged['response_types'];
  for (const [member, value] of Object.entries(patch)) {
    if (value === null) delete merged[member];
    else merged[member] = value;
  }
  const parsed = ClientMetadata.safeParse(merged, { error: inPlainWords });
  if (parsed.success) return parsed.data;
  throw new Refused({ reason: 'invalid', violations: violationsOf(parsed.error) });
}

/**
 * Revokes a client at once: it gets no new tokens, its grants are deleted together with codes, refresh tokens and
 * opaque tokens, and a higher token generation invalidates its JWTs at introspection.
 */
export async function revokeClient(work: UnitOfWork, client: Client, reason: string): Promise<void> {
  const { tx, now } = work;
  if (client.revokedAt) throw conflict(`${client.clientId} was already revoked at ${client.revokedAt.toISOString()}.`);
  await sendIn(
    tx,
    tx
      .updateTable('clients')
      .set({
        revoked_at: now,
        revoked_reason: reason,
        token_generation: client.tokenGeneration + 1,
        version: client.version + 1,
        updated_at: now,
      })
      .where('client_id', '=', client.clientId),
  );
  await endGrants(tx, client.clientId);
  // a revoked client must not manage its own registration, even after it is restored
  await sendIn(
    tx,
    tx
      .updateTable('client_registrations')
      .set({ registration_access_token: null, unused_network: null, unused_site: null })
      .where('client_id', '=', client.clientId),
  );
  await changed(work, client.clientId, { event: 'client.revoked', outcome: 'success', details: { reason } });
}

/** Restores the client with its settings and secrets; old tokens stay invalid. */
export async function restoreClient(work: UnitOfWork, client: Client): Promise<void> {
  const { tx, now } = work;
  if (!client.revokedAt) throw conflict(`${client.clientId} is not revoked.`);
  await sendIn(
    tx,
    tx
      .updateTable('clients')
      .set({ revoked_at: null, revoked_reason: null, version: client.version + 1, updated_at: now })
      .where('client_id', '=', client.clientId),
  );
  await changed(work, client.clientId, { event: 'client.restored', outcome: 'success' });
}

export async function deleteClient(work: UnitOfWork, client: Client): Promise<void> {
  const { tx } = work;
  await endGrants(tx, client.clientId);
  await sendIn(tx, tx.deleteFrom('clients').where('client_id', '=', client.clientId));
  await changed(work, client.clientId, { event: 'client.deleted', outcome: 'success' });
}

/**
 * Locks grants first, in the same order as a transaction that exchanges one of their tokens
 * (oidc/storage/token_rows.ts).
 */
async function endGrants(tx: Tx, clientId: string): Promise<void> {
  await sendIn(tx, tx.deleteFrom('grants').where('client_id', '=', clientId));
  await sendIn(tx, tx.deleteFrom('artifacts').where('client_id', '=', clientId));
  await sendIn(tx, tx.deleteFrom('device_codes').where('client_id', '=', clientId));
}

async function existing(tx: Tx, clientId: string): Promise<ClientWithSecrets> {
  const client = await readClient(tx, clientId);
  if (!client) throw notFound(`Client ${clientId} not found.`);
  return client;
}

async function changed(
  { tx, trail, origin, now }: UnitOfWork,
  clientId: string,
  what: EventOf<`client.${'created' | 'updated' | 'deleted' | 'revoked' | 'restored'}`>,
): Promise<void> {
  await trail.recordIn(tx, origin, { ...what, clientId });
  await recordChange(tx, { topic: 'client', key: clientId }, now);
}

/** Exemptions and their end have events of their own, so that they are easy to find. */
async function recordExemptions(
  work: UnitOfWork,
  clientId: string,
  metadata: ClientMetadata,
  before?: ClientMetadata,
): Promise<void> {
  await recordPkceExemption(work, clientId, metadata, before);
  await recordFirstParty(work, clientId, metadata, before);
  const { assertion_audience = 'issuer' } = metadata;
  if (assertion_audience === (before?.assertion_audience ?? 'issuer')) return;
  const details = { assertion_audience };
  const event = { event: 'client.assertion_audience_changed', outcome: 'success', clientId, details } as const;
  await work.trail.recordIn(work.tx, work.origin, event);
}

async function recordFirstParty(
  { tx, trail, origin }: UnitOfWork,
  clientId: string,
  { first_party = false }: ClientMetadata,
  before?: ClientMetadata,
): Promise<void> {
  if (first_party === (before?.first_party ?? false)) return;
  const event = first_party ? 'client.first_party_set' : 'client.first_party_ended';
  await trail.recordIn(tx, origin, { event, outcome: 'success', clientId });
}

async function recordPkceExemption(
  { tx, trail, origin }: UnitOfWork,
  clientId: string,
  { pkce_exemption }: ClientMetadata,
  before?: ClientMetadata,
): Promise<void> {
  const { reason } = pkce_exemption ?? {};
  if (reason === before?.pkce_exemption?.reason) return;
  const what: EventOf<'client.pkce_exempted' | 'client.pkce_exemption_ended'> =
    reason === undefined
      ? { event: 'client.pkce_exemption_ended', outcome: 'success' }
      : { event: 'client.pkce_exempted', outcome: 'success', details: { reason } };
  await trail.recordIn(tx, origin, { ...what, clientId });
}

/** Returns the client's rights for the audit trail, which then shows who could request what at any time. */
function rightsOf(metadata: ClientMetadata): DetailsOf<'client.created'> {
  return {
    grant_types: metadata.grant_types,
    token_endpoint_auth_method: metadata.token_endpoint_auth_method,
    redirect_uris: metadata.redirect_uris,
    ...(metadata.allowed_cors_origins && { allowed_cors_origins: metadata.allowed_cors_origins }),
    resources: metadata.resources.map(({ resource, scopes }) => `${resource} ${scopes.join(' ')}`),
    introspects: metadata.introspects,
    ...(metadata.profile && { profile: metadata.profile }),
    authorization_details_types: metadata.authorization_details_types,
  };
}

/** Returns the columns for the metadata; members with tables of their own are not in the document. */
function columnsOf({
  resources: _,
  introspects: __,
  authorization_details_types: ___,
  secret_rotation_days,
  ...document
}: ClientMetadata) {
  return { metadata: json(document), secret_rotation_days: secret_rotation_days ?? null };
}

/** Stores what the client may request and introspect, and returns how the resources are registered. */
async function storeAccess(
  { tx }: UnitOfWork,
  clientId: string,
  { authorization_details_types: types, allowed_groups, ...given }: ClientMetadata,
  typesBefore: readonly string[] = [],
): Promise<(name: string) => string> {
  const { resources, introspects, registered } = await requireResources(tx, given);
  await requireGroups(tx, allowed_groups);
  if (resources.length > 0) {
    const rows = resources.map((one) => ({ client_id: clientId, ...one }));
    await sendIn(tx, tx.insertInto('client_resources').values(rows));
  }
  if (introspects.length > 0) {
    const rows = introspects.map((resource) => ({ client_id: clientId, resource }));
    await sendIn(tx, tx.insertInto('client_introspects').values(rows));
  }
  if (types.length > 0) {
    await refuseUnknownTypes(tx, { types, typesBefore, resources });
    const rows = types.map((type) => ({ client_id: clientId, type }));
    await sendIn(tx, tx.insertInto('client_authorization_details_types').values(rows));
  }
  return registered;
}

function asRegistered(metadata: ClientMetadata, registered: (name: string) => string): ClientMetadata {
  const resources = metadata.resources.map(({ resource, scopes }) => ({ resource: registered(resource), scopes }));
  return { ...metadata, resources, introspects: metadata.introspects.map(registered) };
}

/**
 * Locks the named types against deletion. Refuses a new type that applies to none of the client's resources; a type
 * that lost its resources later does not block other changes.
 */
async function refuseUnknownTypes(
  tx: Tx,
  {
    types,
    typesBefore,
    resources,
  }: Pick<ClientMetadata, 'resources'> & { readonly types: readonly string[]; readonly typesBefore: readonly string[] },
): Promise<void> {
  const rows = await tx
    .selectFrom('authorization_details_types')
    .select('type')
    .where('type', 'in', types)
    .forKeyShare()
    .execute();
  const known = new Set(rows.map(({ type }) => type));
  const has = new Set(resources.map(({ resource }) => resource));
  const typeResources = await tx
    .selectFrom('authorization_details_type_resources')
    .selectAll()
    .where('type', 'in', types)
    .execute();
  types.forEach((type, index) => {
    const at = `/authorization_details_types/${index}`;
    if (!known.has(type)) throw invalid(at, 'names a type that is not registered');
    if (!typesBefore.includes(type) && !typeResources.some((row) => row.type === type && has.has(row.resource)))
      throw invalid(at, 'names a type that applies to none of the resources of the client');
  });
}
