/**
 * Resources: the APIs that access tokens are issued for (RFC 8707), each with its scopes. A scope belongs to one
 * resource, has a description for the person who consents, and never contains a wildcard.
 */
import type { SigningAlg } from '../base/signing_algs.ts';

/** Scopes of OpenID Connect, which belong to the server and not to a resource. */
export const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'] as const;

export interface Scope {
  readonly name: string;
  readonly description: string;
}

export interface Resource {
  readonly identifier: string;
  readonly scopes: readonly Scope[];
  /** Tokens that were issued earlier are for a deleted resource of this name. */
  readonly tokensValidFrom: Date;
  /** For each scope the time before which tokens are for a removed scope of this name. */
  readonly scopesValidFrom: ReadonlyMap<string, Date>;
  readonly accessTokenTtlSeconds: number;
  readonly signingAlg: SigningAlg;
  /** Whether a token for this resource may be for userinfo too. */
  readonly userinfoAudience: boolean;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}
