/**
 * Resources: the APIs that tokens are for (RFC 8707), each with the scopes that it understands. A scope exists only
 * inside its resource, is spelled out in words for the person who consents, and never contains a wildcard.
 */
import type { SigningAlg } from '../base/signing_algs.ts';

/** Scopes that OpenID Connect defines; they belong to the server and to no resource. */
export const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'] as const;

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
