/**
 * Shares a node's time among clients that send requests at once: of each client, a fixed number of requests run, and
 * its other requests wait for them. A client is alone if no other client sent a request for 250 ms; then none of its
 * requests waits. A waiting request is served in time or refused: after `WAITING_MILLISECONDS`, or at once if the queue
 * shows that its turn will not come in time.
 */

const AT_ONCE = 4;
const ALONE_AFTER_MILLISECONDS = 250;
/** A request that runs longer than this waits for the database, and takes no time of this node from others. */
const WORKING_MILLISECONDS = 100;
/** The time in the database comes on top; the whole response has 5 s. */
const WAITING_MILLISECONDS = 1_500;
/** A node that stops for a moment (a garbage collection, a slow disk) catches up within this time. */
const PATIENT_MILLISECONDS = 750;
/** Far more than wait for so long without a flood. A refused request costs a repetition, a waiting one costs memory. */
const WAITING_AT_MOST = 2_000;

interface WaitingRequest {
  readonly since: number;
  /** `false`: its turn did not come in time. */
  readonly resolve: (admitted: boolean) => void;
}

interface ClientQueue {
  /** The start times of running requests, the latest last. */
  readonly began: number[];
  readonly waiting: WaitingRequest[];
  /** The time since which requests have been waiting without a break, and the number admitted since. */
  waitingSince: number;
  served: number;
  timer: NodeJS.Timeout | undefined;
}

export class FairQueue {
  readonly #lines = new Map<string, ClientQueue>();
  readonly #now: () => number;
  #last = '';
  #changedAt = -Infinity;

  /** `now`: the clock of the times that callers pass, in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Takes a turn: `undefined` if at once, else a promise. End the turn with `leave`, unless the promise resolves with
   * `false`: the turn did not come in time. `nowMilliseconds` as in rate_limit_buckets.ts.
   */
  take(key: string, nowMilliseconds: number): Promise<boolean> | undefined {
    if (key !== this.#last) {
      this.#last = key;
      this.#changedAt = nowMilliseconds;
    }
    const line = this.#lines.get(key);
    if (!line) {
      this.#lines.set(key, { began: [nowMilliseconds], waiting: [], waitingSince: 0, served: 0, timer: undefined });
      return undefined;
    }
    if (this.#hasPlace(line, nowMilliseconds)) {
      line.began.push(nowMilliseconds);
      return undefined;
    }
    return new Promise((resolve) => {
      if (line.waiting.length === 0) {
        line.waitingSince = nowMilliseconds;
        line.served = 0;
      }
      line.waiting.push({ since: nowMilliseconds, resolve });
      this.#checkLater(line);
    });
  }

  leave(key: string, nowMilliseconds: number): void {
    const line = this.#lines.get(key);
    if (!line) return;
    line.began.shift();
    this.#letIn(line, nowMilliseconds);
    if (line.began.length === 0) this.#lines.delete(key);
  }

  /** The number of seconds after which to try again, if a turn would not come in time; else `undefined`. */
  refuses(key: string, nowMilliseconds: number): number | undefined {
    const line = this.#lines.get(key);
    const [first] = line?.waiting ?? [];
    if (!line || !first) return undefined;
    const { waiting, waitingSince, served } = line;
    const perTurn = (nowMilliseconds - waitingSince) / Math.max(1, served);
    const expected = waiting.length * perTurn;
    const late = nowMilliseconds - first.since > PATIENT_MILLISECONDS && expected > WAITING_MILLISECONDS;
    return late || waiting.length >= WAITING_AT_MOST
      ? Math.min(5, Math.max(1, Math.ceil(expected / 1_000)))
      : undefined;
  }

  /** A client that was alone may have more running requests than the limit: their places are not passed on. */
  #hasPlace({ began }: ClientQueue, nowMilliseconds: number): boolean {
    const { length } = began;
    if (length < AT_ONCE || this.#alone(nowMilliseconds)) return true;
    return nowMilliseconds - began[length - AT_ONCE]! > WORKING_MILLISECONDS;
  }

  #letIn(line: ClientQueue, nowMilliseconds: number): void {
    while (line.waiting.length > 0 && this.#hasPlace(line, nowMilliseconds)) {
      line.began.push(nowMilliseconds);
      line.served++;
      line.waiting.shift()!.resolve(true);
    }
    while (line.waiting[0] && nowMilliseconds - line.waiting[0].since > WAITING_MILLISECONDS) {
      line.waiting.shift()!.resolve(false);
    }
  }

  #checkLater(line: ClientQueue): void {
    line.timer ??= setTimeout(() => {
      line.timer = undefined;
      this.#letIn(line, this.#now());
      if (line.waiting.length > 0) this.#checkLater(line);
    }, WORKING_MILLISECONDS).unref();
  }

  #alone(nowMilliseconds: number): boolean {
    return nowMilliseconds - this.#changedAt > ALONE_AFTER_MILLISECONDS;
  }
}
