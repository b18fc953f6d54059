/** A limit as those hear of it who are held to it (draft-ietf-httpapi-ratelimit-headers-11, 3.1). */
export interface Quota {
  /** Which limit it is: `client`, `address`, `failed-authentication`. */
  readonly name: string;
  /** How many requests. */
  readonly requests: number;
  /** In how many seconds. */
  readonly windowSeconds: number;
}
