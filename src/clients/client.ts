/**
 * Clients: the applications that ask for tokens. A client row carries its metadata (RFC 7591), what it may ask for, and
 * a token generation that is written into every token of it; revoking the client raises the generation, and from then
 * on every older token is dead, whatever the clocks say.
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
  /** How the client came here by itself; `null` where an admin made it. */
  readonly registration: Registration | null;
}

/**
 * A client that registered itself, or that names its metadata by a URL. It may ask for what its policy gives to all of
 * its clients, as the policy stands now, and for what an admin gave to this one; `metadata.resources` is both.
 */
export interface Registration {
  readonly source: 'registration' | 'metadata_document';
  readonly policy: string;
  /** What the policy gives. */
  readonly fromPolicy: readonly ResourceAccess[];
  /** What an admin gave to this client. */
  readonly given: readonly ResourceAccess[];
  /** Members of the metadata that an admin has set: the client's own updates pass them by. */
  readonly heldMembers: readonly string[];
  readonly softwareStatement: string | null;
  /** Set for a metadata document: when it was fetched, and until when it needs no other look. */
  readonly documentFetchedAt: Date | null;
  readonly documentFreshUntil: Date | null;
}

/** Whether anybody could have named themselves this client: nothing proves who it is, and nobody here has looked at it. */
export function isUnproven({ registration, metadata }: Client): boolean {
  return registration !== null && metadata.token_endpoint_auth_method === 'none';
}

/** A secret as stored: what checks it, never the secret. Exactly one of `digest` and `argon2id` is there. */
export interface StoredSecret {
  readonly secretId: string;
  readonly pepperId: string | null;
  /** In base64: as text it takes a tenth of the memory. */
  readonly digest: string | null;
  readonly argon2id: string | null;
  readonly hint: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly endedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

/** A client with the secrets that may prove it: what the token path needs, and what nodes cache. */
export interface ClientWithSecrets extends Client {
  readonly secrets: readonly StoredSecret[];
}

export function isLive(secret: StoredSecret, now: Date): boolean {
  return secret.endedAt === null && (secret.expiresAt === null || secret.expiresAt > now);
}

/** When the newest live secret is due for rotation; `undefined` where no deadline is set or no secret lives. */
export function rotationDueAt({ metadata, secrets }: ClientWithSecrets, now: Date): Date | undefined {
  const days = metadata.secret_rotation_days;
  const newest = secrets.filter((secret) => isLive(secret, now)).map((secret) => secret.createdAt.getTime());
  if (days === undefined || newest.length === 0) return undefined;
  return new Date(Math.max(...newest) + days * 86_400_000);
}
