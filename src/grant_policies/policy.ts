/**
 * Policies of what may be traded for a token: tokens of ours and assertions of trusted issuers for other tokens (token
 * exchange, RFC 8693), assertions for tokens (JWT bearer grant, RFC 7523, 2.1). Each is for one client, one kind of
 * subject and one resource. What no policy says is refused; this room decides, and issues nothing.
 */
export const GRANTS = ['token_exchange', 'jwt_bearer'] as const;
export type Grant = (typeof GRANTS)[number];

/** Whether the new token says who acts (`act`), or is as if the subject had asked for it. */
export const MODES = ['delegation', 'impersonation'] as const;
export type Mode = (typeof MODES)[number];

/** What becomes of a subject that an issuer names: it stays outside, or is the account that has its address or its link. */
export const SUBJECT_ACCOUNTS = ['external', 'verified_email', 'linked'] as const;
export type SubjectAccount = (typeof SUBJECT_ACCOUNTS)[number];

/** Subjects in access tokens of this server, of the resource that the tokens are for. */
export interface OwnSubjects {
  readonly resource: string;
}

/** Subjects in assertions of a trusted issuer. */
export interface OutsideSubjects {
  readonly issuer: string;
  readonly account: SubjectAccount;
  /** The domains whose addresses the issuer may vouch for; empty unless accounts are found by address. */
  readonly emailDomains: readonly string[];
  /** These alone; `undefined` is every subject of the issuer. */
  readonly subjects: readonly string[] | undefined;
}

export interface ScopeRule {
  readonly scope: string;
  /** The scope that the subject's token must have; only where that is a token of ours. */
  readonly from: string | undefined;
}

/** What a policy says. */
export interface PolicyTerms {
  readonly grant: Grant;
  readonly clientId: string;
  readonly subject: OwnSubjects | OutsideSubjects;
  /** What the new token is for. */
  readonly resource: string;
  readonly scopes: readonly ScopeRule[];
  /** `null` for the JWT bearer grant, where nobody acts for another. */
  readonly mode: Mode | null;
  readonly maxTtlSeconds: number;
}

export interface Policy extends PolicyTerms {
  readonly policyId: string;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export function isOutside(subject: OwnSubjects | OutsideSubjects): subject is OutsideSubjects {
  return 'issuer' in subject;
}
