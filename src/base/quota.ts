/** A limit, as responses describe it to clients (draft-ietf-httpapi-ratelimit-headers-11, section 3.1). */
export interface Quota {
  /** The name of the limit: `client`, `address`, `failed-authentication`. */
  readonly name: string;
  /** The number of requests. */
  readonly requests: number;
  /** The time in which that number is allowed. */
  readonly windowSeconds: number;
}
