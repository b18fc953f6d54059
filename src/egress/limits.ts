/** The limits of one request, and of all requests together. */
export interface Limits {
  /** The time for the whole request: the wait in the queue, the look-up, the connection and the response. */
  readonly totalMilliseconds: number;
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** This limit and the following ones, up to `rememberedFailures`, apply to each lane (egress.ts). */
  readonly atOnce: number;
  readonly atOncePerHost: number;
  /** For each network of unknown parties that cause requests. Other requests have no such limit. */
  readonly atOncePerAsker: number;
  /** The length of the queue. Further requests are refused. */
  readonly waiting: number;
  readonly waitingPerAsker: number;
  /** A response is cached for its max-age, but at least and at most for these two times. */
  readonly reuseSecondsLeast: number;
  readonly reuseSecondsMost: number;
  readonly failureReuseSeconds: number;
  readonly rememberedAnswers: number;
  readonly rememberedBytes: number;
  readonly rememberedFailures: number;
  /** After this number of failures a breaker opens, first for the least time and later for at most the greatest. */
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
