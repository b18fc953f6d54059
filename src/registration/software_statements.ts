/**
 * Software statements (RFC 7591, 2.3): what a trusted issuer states about a client takes precedence over the client's
 * own metadata.
 */
import type { RejectionReason, StatementVerifier } from '../trust/statement_verifier.ts';
import type { RegistrationPolicy } from './policy.ts';
import { RegistrationRefused } from './refusal.ts';
import type { SoftwareStatement } from './self_registered_clients.ts';

export interface StatementContext {
  readonly statements: StatementVerifier;
  readonly issuer: string;
  readonly now: Date;
}

/** Claims about the statement, not about the client (RFC 7519, 4.1). */
const ABOUT_ITSELF = new Set(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti']);
/** The statement may be valid, but its issuer is not trusted for this purpose. */
const UNAPPROVED = new Set<RejectionReason>(['issuer_unknown', 'issuer_disabled', 'purpose_refused']);

/** Verifies the request's software statement; `undefined` if there is none or if the policy ignores them. */
export async function readStatement(
  { statements, issuer, now }: StatementContext,
  policy: RegistrationPolicy,
  jwt: unknown,
): Promise<SoftwareStatement | undefined> {
  if (policy.software_statement === 'ignored') return undefined;
  if (jwt === undefined || jwt === null || jwt === '') {
    if (policy.software_statement === 'accepted') return undefined;
    throw invalidStatement('software_statement is required');
  }
  if (typeof jwt !== 'string') throw invalidStatement('software_statement must be a JWT');
  const verdict = await statements.verify(jwt, { purpose: 'software_statement', audience: issuer, now });
  if (!verdict.trusted) {
    if (UNAPPROVED.has(verdict.reason)) throw unapproved(verdict.reason);
    throw invalidStatement(`the software statement is not valid: ${verdict.reason}`);
  }
  const { claims } = verdict;
  if (!policy.software_statement_issuers.includes(claims.iss)) throw unapproved('issuer_not_in_policy');
  const members = Object.entries(claims).filter(([claim]) => !ABOUT_ITSELF.has(claim));
  return { jwt, issuer: claims.iss, members: Object.fromEntries(members) };
}

function invalidStatement(detail: string): RegistrationRefused {
  return new RegistrationRefused({ reason: 'statement_invalid', detail });
}

function unapproved(reason: string): RegistrationRefused {
  const detail = `the issuer of the software statement is not approved: ${reason}`;
  return new RegistrationRefused({ reason: 'statement_unapproved', detail });
}
