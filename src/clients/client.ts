/**
 * Clients: applications that request tokens. A client row contains its metadata (RFC 7591), its access rights, and a
 * token generation that is written into all its tokens. Revoking the client increments the generation, which
 * invalidates all older tokens regardless of clock differences.
 */
import type { ResourceAccess } from './metadata/access.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

export interface Client {
  readonly clientId: string;
  readonly metadata: ClientMetadata;
  readonly tokenGeneration: number;
  readonly revokedAt: Date | null;
  readonly revokedReason: string | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** How the client registered itself; `null` if an admin registered it. */
  readonly registration: Registration | null;
}

/**
 * A client that registered itself, or whose client_id is the URL of its metadata. It may request what its policy
 * currently allows for all its clients, and what an admin granted to it; `metadata.resources` contains both.
 */
export interface Registration {
  readonly source: 'registration' | 'metadata_document';
  readonly policy: string;
  /** The access that the policy grants. */
  readonly fromPolicy: readonly ResourceAccess[];
  /** The access that an admin granted to this client. */
  readonly given: readonly ResourceAccess[];
  /** Metadata members that an admin has set; the client's own updates do not change them. */
  readonly heldMembers: readonly string[];
  readonly softwareStatement: string | null;
  /** Set for a metadata document: the time when it was fetched, and the time until which it counts as fresh. */
  readonly documentFetchedAt: Date | null;
  readonly documentFreshUntil: Date | null;
  /** Whether an admin keeps the stored copy of the metadata document: the server does not fetch it again. */
  readonly documentIsPinned: boolean;
}

/** Whether any program can use this client_id: the client does not authenticate and no admin has reviewed it. */
export function isUnverified({ registration, metadata }: Client): boolean {
  return registration !== null && metadata.token_endpoint_auth_method === 'none';
}

/**
 * Whether an admin, or a trusted issuer's software statement, has set the member, so that the client can't change it. An
 * admin has set each member of a client that did not register itself.
 */
export function isSetByAdmin({ registration }: Client, member: keyof ClientMetadata): boolean {
  return registration === null || registration.heldMembers.includes(member);
}

/** Whether people are not asked for consent at the client. No client that registered itself is such a client. */
export function isFirstParty({ registration, metadata }: Client): boolean {
  return metadata.first_party === true && registration === null;
}

/** A stored secret: a digest or an argon2id hash, never the secret. Exactly one of `digest` and `argon2id` is set. */
export interface StoredSecret {
  readonly secretId: string;
  readonly pepperId: string | null;
  /** In base64, because a string takes a tenth of the memory of a Buffer. */
  readonly digest: string | null;
  readonly argon2id: string | null;
  readonly hint: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly endedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

/** A client with its secrets, as the token endpoint needs it and nodes cache it. */
export interface ClientWithSecrets extends Client {
  readonly secrets: readonly StoredSecret[];
}

export function isLive(secret: StoredSecret, now: Date): boolean {
  return secret.endedAt === null && (secret.expiresAt === null || secret.expiresAt > now);
}

/** Returns when the newest live secret must be rotated; `undefined` without a deadline or a live secret. */
export function rotationDueAt({ metadata, secrets }: ClientWithSecrets, now: Date): Date | undefined {
  const days = metadata.secret_rotation_days;
  const newest = secrets.filter((secret) => isLive(secret, now)).map((secret) => secret.createdAt.getTime());
  if (days === undefined || newest.length === 0) return undefined;
  return new Date(Math.max(...newest) + days * 86_400_000);
}
