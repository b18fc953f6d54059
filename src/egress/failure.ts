/** Why a URL that a client supplied was not fetched, as data: for the log and for tests, never for the client. */
export type EgressFailure = { readonly host: string } & (
  | { readonly reason: 'url_invalid' | 'scheme_refused' | 'userinfo_refused' | 'port_refused' | 'name_refused' }
  | { readonly reason: 'name_unknown'; readonly errorCode: string }
  /** One of the addresses that the name stands for is not a public one. */
  | { readonly reason: 'address_refused'; readonly address: string }
  /** This server has too much under way itself; the only reason that says nothing about the URL. */
  | { readonly reason: 'busy' }
  /** It failed several times in a row, and is not asked for a while. */
  | { readonly reason: 'resting' }
  | { readonly reason: 'timed_out'; readonly limitMilliseconds: number }
  | { readonly reason: 'connection_failed' | 'certificate_refused'; readonly errorCode: string }
  | { readonly reason: 'redirect_refused' | 'status_refused'; readonly status: number }
  | { readonly reason: 'encoding_refused' }
  | { readonly reason: 'headers_too_large' | 'body_too_large'; readonly limitBytes: number }
);

/** Whether it may pass by itself: there is no room here, or the host is away. What the URL itself is to blame for does not. */
export function passes(failure: EgressFailure): boolean {
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

/** Whether this server is to blame, and not the URL. */
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
