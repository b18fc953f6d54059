/** What one request, and all of them together, may cost this server and the one it asks. */
export interface Limits {
  /** For everything: waiting for a turn, the name, the connection, the whole answer. */
  readonly totalMilliseconds: number;
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** What follows is for each lane (see egress.ts). */
  readonly atOnce: number;
  readonly atOncePerHost: number;
  /** For requests that a stranger causes, by the network that it asks from; others have no such bound. */
  readonly atOncePerAsker: number;
  /** Requests that wait for their turn; more are refused. */
  readonly waiting: number;
  readonly waitingPerAsker: number;
  /** How long an answer is reused: what its max-age says, within these two. */
  readonly reuseSecondsLeast: number;
  readonly reuseSecondsMost: number;
  readonly failureReuseSeconds: number;
  readonly rememberedAnswers: number;
  readonly rememberedBytes: number;
  readonly rememberedFailures: number;
  /** After so many a place rests, and at first for so long; never longer than the most. */
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
