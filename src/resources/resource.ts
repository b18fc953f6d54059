/**
 * Resources: the APIs that access tokens are issued for (RFC 8707), each with its scopes. A scope belongs to one
 * resource, has a description for the person who consents, and never contains a wildcard.
 */
import type { ClaimMapping } from '../base/claim_mappings.ts';
import type { RequirableAcr } from '../base/acr_values.ts';
import type { SigningAlg } from '../base/signing_algs.ts';

/** Scopes of OpenID Connect, which belong to the server and not to a resource. */
export const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'] as const;

export interface Scope {
  readonly name: string;
  readonly description: string;
  /** What the scope means for the person, in a second sentence. */
  readonly details?: string;
  /** Whether the scope only reads. */
  readonly access?: 'read' | 'write';
}

const READING_NAME = /(?:^|[^a-z])(?:read|readonly|view|list|get|search)$/i;

/** Returns what an admin said, or else what the scope's name says. A scope that does not say that it reads may write. */
export function accessOf({ name, access }: Pick<Scope, 'name' | 'access'>): 'read' | 'write' {
  return access ?? (READING_NAME.test(name) ? 'read' : 'write');
}

export interface Resource {
  readonly identifier: string;
  /** What people are shown instead of the identifier; `null` if it has no name. */
  readonly displayName: string | null;
  readonly scopes: readonly Scope[];
  /** Tokens that were issued earlier are for a deleted resource of this name. */
  readonly tokensValidFrom: Date;
  /** For each scope the time before which tokens are for a removed scope of this name. */
  readonly scopesValidFrom: ReadonlyMap<string, Date>;
  readonly accessTokenTtlSeconds: number;
  readonly signingAlg: SigningAlg;
  /** Whether a token for this resource may be for userinfo too. */
  readonly userinfoAudience: boolean;
  /** Claims about the person that an admin has added to tokens for this resource. */
  readonly claimMappings: readonly ClaimMapping[];
  /** The authentication context that a login for this resource needs; `null`: a password is enough. */
  readonly requiredAcr: RequirableAcr | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}
