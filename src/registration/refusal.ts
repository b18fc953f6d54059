/** Why a registration or an update of one is refused, as data, and what that is on the wire (RFC 7591, 3.2.2; RFC 6750, 3.1). */
import type { Refused } from '../base/refusal.ts';

export type RegistrationRefusal =
  | { readonly reason: 'metadata'; readonly member: string; readonly detail: string }
  /** No token that opens this: unknown, used up, over, of another client. `presented` is whether one came at all. */
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

/** A member that can't be registered, with the end of a sentence that begins with its name. */
export function refusedMember(member: string, detail: string): RegistrationRefused {
  return new RegistrationRefused({ reason: 'metadata', member, detail });
}

export function tokenRefused(presented = true): RegistrationRefused {
  return new RegistrationRefused({ reason: 'token', presented });
}

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
          ? 'this token is not valid here, or not any more'
          : 'an access token is needed here: send it as Authorization: Bearer',
      };
    case 'statement_invalid':
      return { status: 400, error: 'invalid_software_statement', description: refusal.detail };
    case 'statement_unapproved':
      return { status: 400, error: 'unapproved_software_statement', description: refusal.detail };
    case 'full':
      return {
        status: 403,
        error: 'access_denied',
        description: 'no more clients can be registered in this way; ask who runs this server',
      };
    case 'request':
      return { status: refusal.status, error: 'invalid_request', description: refusal.detail };
  }
}

/** For the audit trail: the true reason, in one line. */
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
  description: 'something went wrong on our side',
};

/** What is wrong with a body before anything in it is looked at. */
export function ofBody({ refusal }: Refused): RegistrationRefused {
  switch (refusal.reason) {
    case 'invalid': {
      const [first] = refusal.violations;
      const detail = `${first?.path || 'the body'} ${first?.detail ?? 'is not as it should be'}`;
      return new RegistrationRefused({ reason: 'request', status: 400, detail });
    }
    case 'too_large':
      return new RegistrationRefused({
        reason: 'request',
        status: 413,
        detail: `a body may have ${refusal.limitBytes} bytes at most`,
      });
    case 'unsupported_media_type':
      return new RegistrationRefused({ reason: 'request', status: 415, detail: refusal.detail });
    default:
      throw new Error('A body was refused for what only a change can be refused for.');
  }
}

/** What is wrong with a change that a registration or an update would be. */
export function ofChange({ refusal }: Refused): RegistrationRefused {
  switch (refusal.reason) {
    case 'invalid': {
      const [first] = refusal.violations;
      const member = first?.path.replace(/^\//, '') || 'the metadata';
      return refusedMember(member, first?.detail ?? 'is not as it should be');
    }
    case 'conflict':
      return new RegistrationRefused({ reason: 'request', status: 409, detail: refusal.detail });
    default:
      // what was there a moment ago is gone: the token is, with its policy or its client
      return tokenRefused();
  }
}
