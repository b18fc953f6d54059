/**
 * The errors that a caller can cause, as data. A feature throws `Refused`; the HTTP layer converts the refusal to its
 * wire format with one exhaustive switch (see http/problem.ts). Any other exception is a bug.
 */
export type Refusal =
  | { readonly reason: 'invalid'; readonly violations: readonly Violation[] }
  | { readonly reason: 'unauthorized'; readonly detail: string }
  | { readonly reason: 'forbidden'; readonly detail: string; readonly requiredScope?: string }
  | { readonly reason: 'not_found'; readonly detail: string }
  | { readonly reason: 'method_not_allowed'; readonly allowed: readonly string[] }
  | { readonly reason: 'conflict'; readonly detail: string; readonly retryAfterSeconds?: number }
  | { readonly reason: 'precondition_failed'; readonly detail: string }
  /** An idempotency key that was used with another request. */
  | { readonly reason: 'key_reused'; readonly detail: string }
  | { readonly reason: 'unsupported_media_type'; readonly detail: string }
  | { readonly reason: 'too_large'; readonly limitBytes: number }
  | { readonly reason: 'too_many_requests'; readonly detail: string; readonly retryAfterSeconds: number }
  | { readonly reason: 'unavailable'; readonly detail: string; readonly retryAfterSeconds: number };

/** A member with an invalid value. `path` is a JSON pointer into the body, or the name of a parameter or header. */
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

/** Refuses the value at `path`. `detail` says what to change. */
export function invalid(path: string, detail: string): Refused {
  return new Refused({ reason: 'invalid', violations: [{ path, detail }] });
}

export function notFound(detail: string): Refused {
  return new Refused({ reason: 'not_found', detail });
}

export function conflict(detail: string): Refused {
  return new Refused({ reason: 'conflict', detail });
}
