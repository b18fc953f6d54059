/** The reason why a URL from a client was not fetched: data for the log and for tests, never for the client. */
export type EgressFailure = { readonly host: string } & (
  | { readonly reason: 'url_invalid' | 'scheme_refused' | 'userinfo_refused' | 'port_refused' | 'name_refused' }
  | { readonly reason: 'name_unknown'; readonly errorCode: string }
  /** At least one of the name's addresses is not public. */
  | { readonly reason: 'address_refused'; readonly address: string }
  /** This server has reached its concurrency limit. As with `resting`, no request was sent. */
  | { readonly reason: 'busy' }
  /** The circuit breaker is open after several failures in a row. */
  | { readonly reason: 'resting' }
  | { readonly reason: 'timed_out'; readonly limitMilliseconds: number }
  | { readonly reason: 'connection_failed' | 'certificate_refused'; readonly errorCode: string }
  | { readonly reason: 'redirect_refused' | 'status_refused'; readonly status: number }
  | { readonly reason: 'encoding_refused' }
  | { readonly reason: 'headers_too_large' | 'body_too_large'; readonly limitBytes: number }
);

/**
 * Whether the failure may be temporary: this server is busy, or the host is unavailable. A fault in the URL is
 * permanent.
 */
export function isTemporary(failure: EgressFailure): boolean {
  switch (failure.reason) {
    case 'busy':
    case 'resting':
    case 'timed_out':
    case 'connection_failed':
    case 'name_unknown':
      return true;
    case 'status_refused':
      return failure.status >= 500 || failure.status === 429;
    default:
      return false;
  }
}

/** Whether the cause is the load of this server, not the URL. */
export function isBusy(error: unknown): boolean {
  return error instanceof EgressFailed && error.failure.reason === 'busy';
}

export class EgressFailed extends Error {
  readonly failure: EgressFailure;

  constructor(failure: EgressFailure, options?: ErrorOptions) {
    super(`${failure.reason}: ${failure.host}`, options);
    this.name = 'EgressFailed';
    this.failure = failure;
  }
}
