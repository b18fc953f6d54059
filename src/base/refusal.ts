/**
 * What a caller may do wrong, as data. A room throws `Refused`; whoever faces the caller turns the refusal into
 * its wire form with one exhaustive switch (see http/problem.ts). Anything else that is thrown is a bug.
 */
export type Refusal =
  | { readonly reason: 'invalid'; readonly violations: readonly Violation[] }
  | { readonly reason: 'unauthorized'; readonly detail: string }
  | { readonly reason: 'forbidden'; readonly detail: string; readonly requiredScope?: string }
  | { readonly reason: 'not_found'; readonly detail: string }
  | { readonly reason: 'method_not_allowed'; readonly allowed: readonly string[] }
  | { readonly reason: 'conflict'; readonly detail: string; readonly retryAfterSeconds?: number }
  | { readonly reason: 'precondition_failed'; readonly detail: string }
  /** An idempotency key that came before with another request. */
  | { readonly reason: 'key_reused'; readonly detail: string }
  | { readonly reason: 'unsupported_media_type'; readonly detail: string }
  | { readonly reason: 'too_large'; readonly limitBytes: number }
  | { readonly reason: 'too_many_requests'; readonly detail: string; readonly retryAfterSeconds: number }
  | { readonly reason: 'unavailable'; readonly detail: string; readonly retryAfterSeconds: number };

/** One member that is not as it should be. `path` is a JSON pointer into the body, or names a parameter or header. */
export interface Violation {
  readonly path: string;
  readonly detail: string;
}

export class Refused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super('detail' in refusal ? refusal.detail : refusal.reason);
    this.name = 'Refused';
    this.refusal = refusal;
  }
}

/** A value at `path` that can't be taken, with a sentence that says what to change. */
export function invalid(path: string, detail: string): Refused {
  return new Refused({ reason: 'invalid', violations: [{ path, detail }] });
}

export function notFound(detail: string): Refused {
  return new Refused({ reason: 'not_found', detail });
}

export function conflict(detail: string): Refused {
  return new Refused({ reason: 'conflict', detail });
}
