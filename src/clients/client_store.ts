/** Makes, changes, revokes, restores and deletes clients. Each function is part of its caller's transaction. */
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
import { beyond, shared, together } from './metadata/access.ts';
import { usesSecret } from './metadata/authentication.ts';
import { refuseUnknownResources } from './resource_check.ts';
import { ClientMetadata } from './metadata/client_metadata.ts';
import { RECORDED_MEMBERS } from './metadata/recorded_members.ts';
import { demandSector, type SectorDocument } from './sector.ts';
import { sectorOf } from './subject.ts';
import { refuseWithoutKey } from './signing_algs.ts';

/** What is left of the column's range is for revocations. */
const FIRST_GENERATIONS = 2 ** 30;

/**
 * Makes a client. `clientId` is for the ones that the house itself makes at its first start; `sector` is what
 * `readSector` brought for this metadata.
 */
export async function createClient(
  change: UnitOfWork,
  metadata: ClientMetadata,
  clientId?: string,
  sector?: SectorDocument,
): Promise<Client> {
  return existing(change.tx, await addClient(change, metadata, { clientId, sector }));
}

/** The same for a caller that needs no more of it than its id. */
export async function addClient(
  change: UnitOfWork,
  metadata: ClientMetadata,
  {
    clientId: chosen,
    sector,
  }: { readonly clientId?: string | undefined; readonly sector?: SectorDocument | undefined },
): Promise<string> {
  const { tx, now } = change;
  await refuseWithoutKey(tx, metadata);
  demandSector(metadata, sector);
  const clientId = chosen ?? randomId('client');
  const insert = tx.insertInto('clients').values({
    client_id: clientId,
    ...stored(metadata),
    // a client that is a URL may have been here before: tokens of that time must not count as of this one
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
    if (!row) throw conflict(`There is a client ${clientId} already.`);
  }
  await storeAccess(change, clientId, metadata);
  await changed(change, clientId, { event: 'client.created', outcome: 'success', details: rightsOf(metadata) });
  await recordExemption(change, clientId, metadata);
  return clientId;
}

/** The client, locked against other changes until the transaction ends. */
export async function lockClient(tx: Tx, clientId: string): Promise<ClientWithSecrets> {
  // two statements: what is read must be what the lock was waited for, and not what was there before
  await sendIn(tx, tx.selectFrom('clients').select('client_id').where('client_id', '=', clientId).forUpdate());
  return existing(tx, clientId);
}

/**
 * Applies a JSON merge patch (RFC 7396) to a locked client's metadata. The result is validated as a whole; what the
 * patch does not name stays as it is. `sector` is what `readSector` brought for that result.
 */
export async function updateClient(
  change: UnitOfWork,
  client: ClientWithSecrets,
  patch: Readonly<Record<string, unknown>>,
  sector?: SectorDocument,
): Promise<Pick<Client, 'clientId' | 'metadata'>> {
  const { tx, now } = change;
  const metadata = applyPatch(client.metadata, patch);
  demandSector(metadata, sector, client.metadata);
  // people would be called otherwise from one refresh to the next (OpenID Connect Core, 12.2)
  if (sectorOf(metadata) !== sectorOf(client.metadata)) await endGrants(tx, client.clientId);
  await refuseWithoutKey(tx, metadata);
  if (usesSecret(client.metadata) && !usesSecret(metadata)) {
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
      .set({ ...stored(metadata), updated_at: now, version: client.version + 1 })
      .where('client_id', '=', client.clientId),
  );
  await sendIn(tx, tx.deleteFrom('client_resources').where('client_id', '=', client.clientId));
  await sendIn(tx, tx.deleteFrom('client_introspects').where('client_id', '=', client.clientId));
  await sendIn(tx, tx.deleteFrom('client_authorization_details_types').where('client_id', '=', client.clientId));
  const own = { ...metadata, resources: given(client, metadata.resources) };
  await storeAccess(change, client.clientId, own, client.metadata.authorization_details_types);
  const details = {
    members: Object.keys(patch),
    ...changedValues(RECORDED_MEMBERS, client.metadata, metadata),
    ...rightsOf(metadata),
  };
  await changed(change, client.clientId, { event: 'client.updated', outcome: 'success', details });
  await recordExemption(change, client.clientId, metadata, client.metadata);
  return { clientId: client.clientId, metadata };
}

/** What is the client's own of all that it may ask for: what its policy gives stays the policy's, to give and to take. */
function given({ registration }: Client, resources: ClientMetadata['resources']): ClientMetadata['resources'] {
  if (!registration) return resources;
  return together(beyond(resources, registration.fromPolicy), shared(registration.given, resources));
}

/** The metadata with the patch applied; throws `Refused` when the result is not something that could be registered. */
export function applyPatch(metadata: ClientMetadata, patch: Readonly<Record<string, unknown>>): ClientMetadata {
  const merged: Record<string, unknown> = { ...metadata };
  // what was derived from the grant types is derived anew, unless the patch says it
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
 * Ends everything the client has, at once: new tokens are refused, its grants go (and with them codes, refresh tokens
 * and opaque tokens), and the raised generation makes its JWTs dead to introspection.
 */
export async function revokeClient(change: UnitOfWork, client: Client, reason: string): Promise<void> {
  const { tx, now } = change;
  if (client.revokedAt) throw conflict(`${client.clientId} was revoked on ${client.revokedAt.toISOString()} already.`);
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
  // whoever revoked it did not mean it to go on managing itself, not even once it is restored
  await sendIn(
    tx,
    tx
      .updateTable('client_registrations')
      .set({ registration_access_token: null, unused_network: null, unused_site: null })
      .where('client_id', '=', client.clientId),
  );
  await changed(change, client.clientId, { event: 'client.revoked', outcome: 'success', details: { reason } });
}

/** Brings the client back with its settings and secrets; its old tokens stay dead. */
export async function restoreClient(change: UnitOfWork, client: Client): Promise<void> {
  const { tx, now } = change;
  if (!client.revokedAt) throw conflict(`${client.clientId} is not revoked.`);
  await sendIn(
    tx,
    tx
      .updateTable('clients')
      .set({ revoked_at: null, revoked_reason: null, version: client.version + 1, updated_at: now })
      .where('client_id', '=', client.clientId),
  );
  await changed(change, client.clientId, { event: 'client.restored', outcome: 'success' });
}

export async function deleteClient(change: UnitOfWork, client: Client): Promise<void> {
  const { tx } = change;
  await endGrants(tx, client.clientId);
  await sendIn(tx, tx.deleteFrom('clients').where('client_id', '=', client.clientId));
  await changed(change, client.clientId, { event: 'client.deleted', outcome: 'success' });
}

/** Grants before what hangs on them, as whoever trades one of their tokens takes hold of them (oidc/token_rows.ts). */
async function endGrants(tx: Tx, clientId: string): Promise<void> {
  await sendIn(tx, tx.deleteFrom('grants').where('client_id', '=', clientId));
  await sendIn(tx, tx.deleteFrom('artifacts').where('client_id', '=', clientId));
  await sendIn(tx, tx.deleteFrom('device_codes').where('client_id', '=', clientId));
}

async function existing(tx: Tx, clientId: string): Promise<ClientWithSecrets> {
  const client = await readClient(tx, clientId);
  if (!client) throw notFound(`There is no client ${clientId}.`);
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

/** To be let off PKCE, or no longer to be, is an event of its own: nobody should have to look for it. */
async function recordExemption(
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

/** What the trail keeps of a client's rights, so that it tells who could ask for what, and since when. */
function rightsOf(metadata: ClientMetadata): DetailsOf<'client.created'> {
  return {
    grant_types: metadata.grant_types,
    token_endpoint_auth_method: metadata.token_endpoint_auth_method,
    redirect_uris: metadata.redirect_uris,
    resources: metadata.resources.map(({ resource, scopes }) => `${resource} ${scopes.join(' ')}`),
    introspects: metadata.introspects,
    ...(metadata.profile && { profile: metadata.profile }),
    authorization_details_types: metadata.authorization_details_types,
  };
}

/** The columns of the metadata: what has a table of its own is not in the document. */
function stored({
  resources: _,
  introspects: __,
  authorization_details_types: ___,
  secret_rotation_days,
  ...document
}: ClientMetadata) {
  return { metadata: json(document), secret_rotation_days: secret_rotation_days ?? null };
}

async function storeAccess(
  { tx }: UnitOfWork,
  clientId: string,
  { resources, introspects, authorization_details_types: types }: ClientMetadata,
  typesHeld: readonly string[] = [],
): Promise<void> {
  await refuseUnknownResources(tx, resources, introspects);
  if (resources.length > 0) {
    const rows = resources.map((one) => ({ client_id: clientId, ...one }));
    await sendIn(tx, tx.insertInto('client_resources').values(rows));
  }
  if (introspects.length > 0) {
    const rows = introspects.map((resource) => ({ client_id: clientId, resource }));
    await sendIn(tx, tx.insertInto('client_introspects').values(rows));
  }
  if (types.length > 0) {
    await refuseUnknownTypes(tx, { types, typesHeld, resources });
    const rows = types.map((type) => ({ client_id: clientId, type }));
    await sendIn(tx, tx.insertInto('client_authorization_details_types').values(rows));
  }
}

/**
 * Locks the types named against deletion. A type for none of the client's resources is of no use, and refused when it is
 * given; one that became so later stands in the way of no other change.
 */
async function refuseUnknownTypes(
  tx: Tx,
  {
    types,
    typesHeld,
    resources,
  }: Pick<ClientMetadata, 'resources'> & { readonly types: readonly string[]; readonly typesHeld: readonly string[] },
): Promise<void> {
  const rows = await tx
    .selectFrom('authorization_details_types')
    .select('type')
    .where('type', 'in', types)
    .forKeyShare()
    .execute();
  const known = new Set(rows.map(({ type }) => type));
  const has = new Set(resources.map(({ resource }) => resource));
  const reach = await tx
    .selectFrom('authorization_details_type_resources')
    .selectAll()
    .where('type', 'in', types)
    .execute();
  types.forEach((type, index) => {
    const at = `/authorization_details_types/${index}`;
    if (!known.has(type)) throw invalid(at, 'names no type that is registered here');
    if (!typesHeld.includes(type) && !reach.some((row) => row.type === type && has.has(row.resource)))
      throw invalid(at, 'names a type that is for none of the client’s resources');
  });
}
