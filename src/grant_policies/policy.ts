/**
 * Grant policies: which client may exchange which subject for tokens of which resource. Token exchange (RFC 8693)
 * accepts access tokens of this server and assertions of trusted issuers; the JWT bearer grant (RFC 7523, 2.1) accepts
 * assertions. Requests without a matching policy are refused. This folder decides; src/oidc/grants issues the tokens.
 */
export const GRANTS = ['token_exchange', 'jwt_bearer'] as const;
export type Grant = (typeof GRANTS)[number];

/** Delegation: the new token names the actor (`act`). Impersonation: it looks as if the subject had requested it. */
export const MODES = ['delegation', 'impersonation'] as const;
export type Mode = (typeof MODES)[number];

/**
 * How an issuer's subject is mapped: to no account, to the account with its verified e-mail address, or to the account
 * that an admin has linked.
 */
export const SUBJECT_ACCOUNTS = ['external', 'verified_email', 'linked'] as const;
export type SubjectAccount = (typeof SUBJECT_ACCOUNTS)[number];

/** Subjects of this server's access tokens for one resource. */
export interface OwnSubjects {
  readonly resource: string;
}

/** Subjects of a trusted issuer's assertions. */
export interface ExternalSubjects {
  readonly issuer: string;
  readonly account: SubjectAccount;
  /** The domains whose addresses the issuer may assert; empty unless accounts are found by address. */
  readonly emailDomains: readonly string[];
  /** The permitted subjects; `undefined` permits every subject of the issuer. */
  readonly subjects: readonly string[] | undefined;
}

export interface ScopeRule {
  readonly scope: string;
  /** The scope that the subject's token must have; set only if that is a token of this server. */
  readonly from: string | undefined;
}

/** The content of a policy. */
export interface PolicyTerms {
  readonly grant: Grant;
  readonly clientId: string;
  readonly subject: OwnSubjects | ExternalSubjects;
  /** The resource of the new token. */
  readonly resource: string;
  readonly scopes: readonly ScopeRule[];
  /** `null` for the JWT bearer grant, which has no actor. */
  readonly mode: Mode | null;
  readonly maxTtlSeconds: number;
}

export interface Policy extends PolicyTerms {
  readonly policyId: string;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export function isExternal(subject: OwnSubjects | ExternalSubjects): subject is ExternalSubjects {
  return 'issuer' in subject;
}
