/** Refusals of a registration or update as data, and their errors on the wire (RFC 7591, 3.2.2; RFC 6750, 3.1). */
import type { Refused } from '../base/refusal.ts';

export type RegistrationRefusal =
  | { readonly reason: 'metadata'; readonly member: string; readonly detail: string }
  /**
   * No valid token: it is missing, unknown, used up, expired, or of another client. `presented` is false if it is
   * missing.
   */
  | { readonly reason: 'token'; readonly presented: boolean }
  | { readonly reason: 'statement_invalid'; readonly detail: string }
  | { readonly reason: 'statement_unapproved'; readonly detail: string }
  | { readonly reason: 'full'; readonly policy: string; readonly limit: number }
  | { readonly reason: 'request'; readonly status: 400 | 409 | 413 | 415; readonly detail: string };

export interface RegistrationError {
  readonly status: number;
  readonly error: string;
  readonly description: string;
}

export class RegistrationRefused extends Error {
  readonly refusal: RegistrationRefusal;

  constructor(refusal: RegistrationRefusal) {
    super('detail' in refusal ? refusal.detail : refusal.reason);
    this.name = 'RegistrationRefused';
    this.refusal = refusal;
  }
}

/** Refuses a metadata member. `detail` is the end of a sentence that begins with the member's name. */
export function refusedMember(member: string, detail: string): RegistrationRefused {
  return new RegistrationRefused({ reason: 'metadata', member, detail });
}

export function tokenRefused(presented = true): RegistrationRefused {
  return new RegistrationRefused({ reason: 'token', presented });
}

/** The HTTP status, error code and description of a refusal. */
export function errorOf(refusal: RegistrationRefusal): RegistrationError {
  switch (refusal.reason) {
    case 'metadata': {
      const ofRedirect = /^redirect_uris(\/|$)/.test(refusal.member);
      const error = ofRedirect ? 'invalid_redirect_uri' : 'invalid_client_metadata';
      return { status: 400, error, description: `${refusal.member} ${refusal.detail}` };
    }
    case 'token':
      return {
        status: 401,
        error: 'invalid_token',
        description: refusal.presented
          ? 'the access token is not valid'
          : 'an access token is required; send it as Authorization: Bearer',
      };
    case 'statement_invalid':
      return { status: 400, error: 'invalid_software_statement', description: refusal.detail };
    case 'statement_unapproved':
      return { status: 400, error: 'unapproved_software_statement', description: refusal.detail };
    case 'full':
      return {
        status: 403,
        error: 'access_denied',
        description: 'the limit of registered clients is reached; ask the operator of this server',
      };
    case 'request':
      return { status: refusal.status, error: 'invalid_request', description: refusal.detail };
  }
}

/** The reason for the audit trail, in one line. */
export function reasonOf(refusal: RegistrationRefusal): string {
  switch (refusal.reason) {
    case 'token':
      return refusal.presented ? 'token_refused' : 'token_missing';
    case 'full':
      return `policy_full: ${refusal.policy} has its ${refusal.limit} clients`;
    default:
      return errorOf(refusal).description;
  }
}

export const UNAVAILABLE: RegistrationError = {
  status: 503,
  error: 'temporarily_unavailable',
  description: 'the server can not answer right now; try again in a moment',
};
export const BROKEN: RegistrationError = {
  status: 500,
  error: 'server_error',
  description: 'an internal error occurred',
};

/** Converts a refused request body. */
export function ofBody({ refusal }: Refused): RegistrationRefused {
  switch (refusal.reason) {
    case 'invalid': {
      const [first] = refusal.violations;
      const detail = `${first?.path || 'the body'} ${first?.detail ?? 'is not valid'}`;
      return new RegistrationRefused({ reason: 'request', status: 400, detail });
    }
    case 'too_large':
      return new RegistrationRefused({
        reason: 'request',
        status: 413,
        detail: `the request body must not exceed ${refusal.limitBytes} bytes`,
      });
    case 'unsupported_media_type':
      return new RegistrationRefused({ reason: 'request', status: 415, detail: refusal.detail });
    default:
      throw new Error('Unexpected reason for refusing a request body.');
  }
}

/** Converts a refused change of a client. */
export function ofChange({ refusal }: Refused): RegistrationRefused {
  switch (refusal.reason) {
    case 'invalid': {
      const [first] = refusal.violations;
      const member = first?.path.replace(/^\//, '') || 'the metadata';
      return refusedMember(member, first?.detail ?? 'is not valid');
    }
    case 'conflict':
      return new RegistrationRefused({ reason: 'request', status: 409, detail: refusal.detail });
    default:
      // the policy or the client was deleted during the request, and the token with it
      return tokenRefused();
  }
}
