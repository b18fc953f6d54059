/** The limits of one request, and of all requests together. */
export interface Limits {
  /** For the whole request: waiting for a place, the look-up, the connection and the response. */
  readonly totalMilliseconds: number;
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** The limits from here on are for each lane (see egress.ts). */
  readonly atOnce: number;
  readonly atOncePerHost: number;
  /** For requests that an unknown party causes, by its network; other requests have no such limit. */
  readonly atOncePerAsker: number;
  /** Requests that wait for a place; more are refused. */
  readonly waiting: number;
  readonly waitingPerAsker: number;
  /** How long a response is cached: its max-age, within these two. */
  readonly reuseSecondsLeast: number;
  readonly reuseSecondsMost: number;
  readonly failureReuseSeconds: number;
  readonly rememberedAnswers: number;
  readonly rememberedBytes: number;
  readonly rememberedFailures: number;
  /** After so many failures a breaker opens, first for the least time and never longer than the most. */
  readonly failuresInARow: number;
  readonly restMillisecondsLeast: number;
  readonly restMillisecondsMost: number;
}

export const LIMITS: Limits = {
  totalMilliseconds: 2_500,
  headerBytes: 16 * 1024,
  bodyBytes: 256 * 1024,
  atOnce: 20,
  atOncePerHost: 2,
  atOncePerAsker: 4,
  waiting: 100,
  waitingPerAsker: 10,
  reuseSecondsLeast: 60,
  reuseSecondsMost: 3_600,
  failureReuseSeconds: 10,
  rememberedAnswers: 1_000,
  rememberedBytes: 16 * 1024 * 1024,
  rememberedFailures: 1_000,
  failuresInARow: 5,
  restMillisecondsLeast: 1_000,
  restMillisecondsMost: 60_000,
};
