/** Registers, updates and removes self-registered clients. Each function runs in its caller's transaction. */
import { randomId } from '../base/ids.ts';
import { sha256, type Digest, type Secret } from '../base/secret.ts';
import type { DetailsOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { ClientWithSecrets, StoredSecret } from '../clients/client.ts';
import { isLive } from '../clients/client.ts';
import { readClient } from '../clients/client_rows.ts';
import { usesSecret } from '../clients/metadata/client_authentication.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { createClient, deleteClient, lockClient, updateClient } from '../clients/client_store.ts';
import { addSecret } from '../clients/secrets.ts';
import type { SectorDocument } from '../clients/sector.ts';
import type { Reader, Tx } from '../db/connection.ts';
import type { DataKey } from '../vault/vault.ts';
import { enforceQuota, NEVER_DISPLACED, unusedClientOrigin } from './client_quota.ts';
import { useInitialAccessToken } from './initial_access_tokens.ts';
import { allowedMembers, underPolicy, type Given } from './allowed_metadata.ts';
import { lockPolicy } from './policies.ts';
import type { RegistrationPolicy } from './policy.ts';
import { refusedMember, tokenRefused } from './refusal.ts';

/** The client's new credentials, created before the transaction. */
export interface Credentials {
  readonly registrationAccessToken: Secret;
  /** Used only if the client authenticates with a secret. */
  readonly clientSecret: Secret;
  readonly pepper: DataKey;
}

export interface SoftwareStatement {
  readonly jwt: string;
  readonly issuer: string;
  readonly members: Given;
}

export interface RegistrationRequest {
  /** The name of the policy that permitted the request. */
  readonly policy: string;
  /** `undefined` under an open policy. */
  readonly initialAccessToken?: string | undefined;
  /** The sender's IP address. */
  readonly address: string;
  readonly given: Given;
  readonly statement?: SoftwareStatement | undefined;
  /** The sector document, fetched before the transaction. */
  readonly sector?: SectorDocument | undefined;
}

export interface UpdateRequest {
  readonly clientId: string;
  readonly presented: string;
  readonly given: Given;
  readonly sector?: SectorDocument | undefined;
}

export interface Registered {
  readonly client: ClientWithSecrets;
  /** Set if a secret was created; it can't be shown later. */
  readonly secret?: { readonly value: Secret; readonly expiresAt: Date | null } | undefined;
  readonly registrationAccessToken: Secret;
}

/** Registers a client. A refused registration does not use up the token, which is consumed in the same transaction. */
export async function registerClient(
  change: UnitOfWork,
  { policy: name, initialAccessToken, address, given, statement, sector }: RegistrationRequest,
  credentials: Credentials,
): Promise<Registered> {
  const { tx, now } = change;
  const token = initialAccessToken === undefined ? undefined : await useInitialAccessToken(tx, initialAccessToken, now);
  if (initialAccessToken !== undefined && token?.policy !== name) throw tokenRefused();
  const { policy } = await lockPolicy(tx, name);
  if (!token && !policy.open_registration) throw tokenRefused();
  const unusedOrigin = token ? NEVER_DISPLACED : unusedClientOrigin(address);
  await enforceQuota(change, policy, 'registration', unusedOrigin);

  const clientId = randomId('client');
  await createClient(change, underPolicy(policy, withStatement(given, statement)), clientId, sector);
  await tx
    .insertInto('client_registrations')
    .values({
      client_id: clientId,
      source: 'registration',
      policy: policy.name,
      initial_access_token_id: token?.tokenId ?? null,
      registration_access_token: sha256(credentials.registrationAccessToken.reveal()),
      // the client can't change the members of the statement later
      held_members: Object.keys(statement?.members ?? {}).filter((member) => allowedMembers.includes(member)),
      software_statement: statement?.jwt ?? null,
      document_fetched_at: null,
      document_fresh_until: null,
      created_at: now,
      ...unusedOrigin,
    })
    .execute();
  await recordRegistered(change, clientId, {
    source: 'registration',
    policy: policy.name,
    initial_access_token_id: token?.tokenId ?? null,
    software_statement_issuer: statement?.issuer ?? null,
  });
  const secret = await giveSecret(change, await lockClient(tx, clientId), policy, credentials);
  return { client: await reread(tx, clientId), secret, registrationAccessToken: credentials.registrationAccessToken };
}

export async function recordRegistered(
  { tx, trail, origin }: UnitOfWork,
  clientId: string,
  details: DetailsOf<'client.registered'>,
): Promise<void> {
  await trail.recordIn(tx, origin, { event: 'client.registered', outcome: 'success', clientId, details });
}

/** Finds a client by its registration access token; `undefined` if the token is of another client. */
export async function findByToken(
  reader: Reader,
  clientId: string,
  presented: string,
): Promise<ClientWithSecrets | undefined> {
  const row = await reader
    .selectFrom('client_registrations')
    .select('client_id')
    .where('registration_access_token', '=', sha256(presented))
    .executeTakeFirst();
  const client = row?.client_id === clientId ? await readClient(reader, clientId) : undefined;
  return client && !client.revokedAt ? client : undefined;
}

/**
 * Replaces the client's registration (RFC 7592, 2.2): omitted members are removed. Members that an admin has set, or
 * that clients can't register, stay. One statement replaces the registration access token.
 */
export async function replaceRegistration(
  change: UnitOfWork,
  { clientId, presented, given, sector }: UpdateRequest,
  credentials: Credentials,
): Promise<Registered> {
  const { tx } = change;
  // locks the client first, as an admin's change does, to prevent a deadlock
  const client = await lockClient(tx, clientId);
  if (client.revokedAt || !client.registration) throw tokenRefused();
  await swapToken(tx, clientId, presented, sha256(credentials.registrationAccessToken.reveal()));
  const { policy } = await lockPolicy(tx, client.registration.policy);
  const patch = patchFor(client, underPolicy(policy, withHeld(client, given)));
  const { metadata } = await updateClient(change, client, patch, sector);
  const secret = await giveSecret(change, { ...(await lockClient(tx, clientId)), metadata }, policy, credentials);
  return { client: await reread(tx, clientId), secret, registrationAccessToken: credentials.registrationAccessToken };
}

/** Deletes a client at its own request (RFC 7592, 2.3). */
export async function removeRegistration(change: UnitOfWork, clientId: string, presented: string): Promise<void> {
  const client = await lockClient(change.tx, clientId);
  if (client.revokedAt) throw tokenRefused();
  await swapToken(change.tx, clientId, presented, null);
  await deleteClient(change, client);
}

/**
 * Replaces the registration access token. Throws unless the presented one is current, so that one of several
 * simultaneous requests succeeds.
 */
async function swapToken(tx: Tx, clientId: string, presented: string, next: Digest | null): Promise<void> {
  const { numUpdatedRows } = await tx
    .updateTable('client_registrations')
    .set({ registration_access_token: next })
    .where('client_id', '=', clientId)
    .where('registration_access_token', '=', sha256(presented))
    .executeTakeFirst();
  if (numUpdatedRows === 0n) throw tokenRefused();
}

/**
 * Marks members that an admin has set, so that the client can't change them. A member that the admin removes can be
 * changed by the client again.
 */
export async function holdMembers(
  { tx }: UnitOfWork,
  { registration, clientId }: ClientWithSecrets,
  patch: Given,
): Promise<void> {
  if (!registration) return;
  const held = new Set(registration.heldMembers);
  for (const [member, value] of Object.entries(patch)) {
    if (value === null) held.delete(member);
    else if (SETTLED.includes(member)) held.add(member);
  }
  await tx
    .updateTable('client_registrations')
    .set({ held_members: [...held], ...NEVER_DISPLACED })
    .where('client_id', '=', clientId)
    .execute();
}

/** The client's metadata, with the members of the software statement taking precedence. */
export function withStatement(given: Given, statement: SoftwareStatement | undefined): Given {
  return { ...given, ...statement?.members };
}

/** The client's metadata, with the members that an admin has set taking precedence. */
export function withHeld({ registration, metadata }: ClientWithSecrets, given: Given): Given {
  const held = registration?.heldMembers ?? [];
  // members that the policy sets are not the client's; `patchFor` leaves those that an admin has set
  const stored = Object.entries(metadata).filter(
    ([member]) => held.includes(member) && allowedMembers.includes(member),
  );
  const asked = Object.entries(given).filter(([member]) => !held.includes(member));
  return Object.fromEntries([...asked, ...stored]);
}

/** The members that a registration determines: the client's own, and those that its policy sets. */
const SETTLED = [...allowedMembers, 'scope', 'assertion_audience'];

/** The merge patch that replaces the client's own members, except those that an admin has set. */
export function patchFor({ metadata: before, registration }: ClientWithSecrets, after: ClientMetadata): Given {
  const free = SETTLED.filter((member) => !registration?.heldMembers.includes(member));
  const changes = free.map((member) => {
    const [old, now] = [before, after].map((metadata) => (metadata as Given)[member]);
    return JSON.stringify(old) === JSON.stringify(now) ? [] : [[member, now ?? null] as const];
  });
  const patch = Object.fromEntries(changes.flat());
  // otherwise the response types would be derived from the grant types again
  return 'grant_types' in patch ? { ...patch, response_types: after.response_types } : patch;
}

/** Creates a secret for a client that needs one and has no valid one. */
async function giveSecret(
  change: UnitOfWork,
  client: ClientWithSecrets,
  policy: RegistrationPolicy,
  { clientSecret, pepper }: Credentials,
): Promise<Registered['secret']> {
  const isValid = (secret: StoredSecret): boolean => isLive(secret, change.now);
  if (!usesSecret(client.metadata) || client.secrets.some(isValid)) return undefined;
  const { expiresAt } = await addSecret(change, client, {
    check: { pepper, value: clientSecret },
    overlapSeconds: 0,
    expiresInSeconds: policy.client_secret_ttl_seconds,
  });
  return { value: clientSecret, expiresAt };
}

/**
 * Refuses an update that has another client_id, a wrong secret, or a member that only the server sets (RFC 7592, 2.2).
 */
export function demandIdentity(client: ClientWithSecrets, given: Given, secretIsRight: boolean): void {
  if (given['client_id'] !== client.clientId) throw refusedMember('client_id', 'must be the client_id of this client');
  if (!secretIsRight) throw refusedMember('client_secret', 'must be the current secret, or be omitted');
  for (const member of SET_BY_SERVER) {
    if (member in given) throw refusedMember(member, 'must be omitted: the server sets it');
  }
  const { software_statement: statement = null } = given;
  if (statement !== null && statement !== client.registration?.softwareStatement) {
    throw refusedMember('software_statement', 'must be the registered one, or be omitted');
  }
}

const SET_BY_SERVER = [
  'registration_access_token',
  'registration_client_uri',
  'client_secret_expires_at',
  'client_id_issued_at',
] as const;

async function reread(reader: Reader, clientId: string): Promise<ClientWithSecrets> {
  const client = await readClient(reader, clientId);
  if (!client) throw new Error('A locked client was deleted.');
  return client;
}
