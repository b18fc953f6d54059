/** Registers clients, and changes and removes what they registered. Each function is part of its caller's transaction. */
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
import { makeRoom, KEPT, whenceOf } from './client_quota.ts';
import { useInitialAccessToken } from './initial_access_tokens.ts';
import { allowedMembers, underPolicy, type Given } from './allowed_metadata.ts';
import { lockPolicy } from './policies.ts';
import type { RegistrationPolicy } from './policy.ts';
import { refusedMember, tokenRefused } from './refusal.ts';

/** Made before the transaction: what a client is given to prove itself with from now on. */
export interface Credentials {
  readonly registrationAccessToken: Secret;
  /** Given out only where the client authenticates with a secret. */
  readonly clientSecret: Secret;
  readonly pepper: DataKey;
}

export interface SoftwareStatement {
  readonly jwt: string;
  readonly issuer: string;
  readonly members: Given;
}

export interface RegistrationRequest {
  /** The policy that the request was let in by. */
  readonly policy: string;
  /** Left out under an open policy. */
  readonly initialAccessToken?: string | undefined;
  /** Where the request came from. */
  readonly address: string;
  readonly given: Given;
  readonly statement?: SoftwareStatement | undefined;
  /** What vouches for the sector of what was given, fetched before the transaction. */
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
  /** Set where a secret was made just now: this is the only time it can be shown. */
  readonly secret?: { readonly value: Secret; readonly expiresAt: Date | null } | undefined;
  readonly registrationAccessToken: Secret;
}

/** Registers a client. What is refused uses nothing up: the token is spent in the same transaction. */
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
  const whence = token ? KEPT : whenceOf(address);
  await makeRoom(change, policy, 'registration', whence);

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
      // what the statement says, the client can't change by itself afterwards
      held_members: Object.keys(statement?.members ?? {}).filter((member) => allowedMembers.includes(member)),
      software_statement: statement?.jwt ?? null,
      document_fetched_at: null,
      document_fresh_until: null,
      created_at: now,
      ...whence,
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

/** The client that a registration access token is for, if it is the one that is asked about. */
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
 * Replaces what the client registered (RFC 7592, 2.2): what it leaves out goes. What an admin has set stays, and so does
 * everything that a client can't register. One statement uses the token up and puts another in its place.
 */
export async function replaceRegistration(
  change: UnitOfWork,
  { clientId, presented, given, sector }: UpdateRequest,
  credentials: Credentials,
): Promise<Registered> {
  const { tx } = change;
  // the client first, as an admin's change does: the other way round the two would wait for one another
  const client = await lockClient(tx, clientId);
  if (client.revokedAt || !client.registration) throw tokenRefused();
  await swapToken(tx, clientId, presented, sha256(credentials.registrationAccessToken.reveal()));
  const { policy } = await lockPolicy(tx, client.registration.policy);
  const patch = patchFor(client, underPolicy(policy, withHeld(client, given)));
  const { metadata } = await updateClient(change, client, patch, sector);
  const secret = await giveSecret(change, { ...(await lockClient(tx, clientId)), metadata }, policy, credentials);
  return { client: await reread(tx, clientId), secret, registrationAccessToken: credentials.registrationAccessToken };
}

/** Removes a client at its own wish (RFC 7592, 2.3). */
export async function removeRegistration(change: UnitOfWork, clientId: string, presented: string): Promise<void> {
  const client = await lockClient(change.tx, clientId);
  if (client.revokedAt) throw tokenRefused();
  await swapToken(change.tx, clientId, presented, null);
  await deleteClient(change, client);
}

/** Throws unless the presented token is the client's at this very moment: of several that come at once, one wins. */
async function swapToken(tx: Tx, clientId: string, presented: string, next: Digest | null): Promise<void> {
  const { numUpdatedRows } = await tx
    .updateTable('client_registrations')
    .set({ registration_access_token: next })
    .where('client_id', '=', clientId)
    .where('registration_access_token', '=', sha256(presented))
    .executeTakeFirst();
  if (numUpdatedRows === 0n) throw tokenRefused();
}

/** Keeps members for an admin who has set them; one that the admin takes away is the client's again. */
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
    .set({ held_members: [...held], ...KEPT })
    .where('client_id', '=', clientId)
    .execute();
}

/** What the client says, but for what somebody who is trusted says about it. */
export function withStatement(given: Given, statement: SoftwareStatement | undefined): Given {
  return { ...given, ...statement?.members };
}

/** What the client says, but for the members that an admin has set. */
export function withHeld({ registration, metadata }: ClientWithSecrets, given: Given): Given {
  const held = registration?.heldMembers ?? [];
  const stored = Object.entries(metadata).filter(([member]) => held.includes(member));
  const asked = Object.entries(given).filter(([member]) => !held.includes(member));
  return Object.fromEntries([...asked, ...stored]);
}

/** What a registration settles: what the client says of itself, and the scopes that its policy gives. */
const SETTLED = [...allowedMembers, 'scope'];

/** The change that makes a client's own members these and no others, but for those that an admin has set. */
export function patchFor({ metadata: before, registration }: ClientWithSecrets, after: ClientMetadata): Given {
  const free = SETTLED.filter((member) => !registration?.heldMembers.includes(member));
  const changes = free.map((member) => {
    const [old, now] = [before, after].map((metadata) => (metadata as Given)[member]);
    return JSON.stringify(old) === JSON.stringify(now) ? [] : [[member, now ?? null] as const];
  });
  const patch = Object.fromEntries(changes.flat());
  // what is derived from the grant types would be derived anew
  return 'grant_types' in patch ? { ...patch, response_types: after.response_types } : patch;
}

/** A client that has a secret which lives keeps it; nobody can show it again. */
async function giveSecret(
  change: UnitOfWork,
  client: ClientWithSecrets,
  policy: RegistrationPolicy,
  { clientSecret, pepper }: Credentials,
): Promise<Registered['secret']> {
  const lives = (secret: StoredSecret): boolean => isLive(secret, change.now);
  if (!usesSecret(client.metadata) || client.secrets.some(lives)) return undefined;
  const { expiresAt } = await addSecret(change, client, {
    check: { pepper, value: clientSecret },
    overlapSeconds: 0,
    expiresInSeconds: policy.client_secret_ttl_seconds,
  });
  return { value: clientSecret, expiresAt };
}

/** Refuses an update that names another client or a wrong secret, or that sets what only the server sets (RFC 7592, 2.2). */
export function demandIdentity(client: ClientWithSecrets, given: Given, secretIsRight: boolean): void {
  if (given['client_id'] !== client.clientId) throw refusedMember('client_id', 'must be the client’s own');
  if (!secretIsRight) throw refusedMember('client_secret', 'must be the client’s own, or be left out');
  for (const member of SET_BY_SERVER) {
    if (member in given) throw refusedMember(member, 'must be left out: the server sets it');
  }
  const { software_statement: statement = null } = given;
  if (statement !== null && statement !== client.registration?.softwareStatement) {
    throw refusedMember('software_statement', 'must be the one that the client registered with, or be left out');
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
  if (!client) throw new Error('A client is gone while it is locked.');
  return client;
}
