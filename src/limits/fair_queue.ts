/**
 * Shares a node's time among clients that ask at once: of each so many requests are under way, and the rest of its
 * requests wait for those. A client is alone if no other client asked for 250 ms, and then none of its requests waits.
 * A request that waits is served in time or refused: not after `WAITING_MILLISECONDS`, and a newcomer at once where those
 * before it show that its turn will not come in time.
 */

const AT_ONCE = 4;
const ALONE_AFTER_MILLISECONDS = 250;
/** What has been under way for longer waits for the database: it takes no time of this node from others. */
const WORKING_MILLISECONDS = 100;
/** The database's part of an answer comes on top, and the whole has 5 s. */
const WAITING_MILLISECONDS = 1_500;
/** A node that has come to a halt for a moment (a collection of garbage, a slow disk) catches up before that. */
const PATIENT_MILLISECONDS = 750;
/** Far more than wait for so long without a flood: what is refused is asked for again, what waits is memory. */
const WAITING_AT_MOST = 2_000;

interface Waiting {
  readonly since: number;
  /** `false`: it waited in vain. */
  readonly resolve: (comesOn: boolean) => void;
}

interface Line {
  /** When each request that is under way began, the latest last. */
  readonly began: number[];
  readonly waiting: Waiting[];
  /** Since when there are any waiting without a break, and how many came on since. */
  waitingSince: number;
  served: number;
  timer: NodeJS.Timeout | undefined;
}

export class FairQueue {
  readonly #lines = new Map<string, Line>();
  readonly #now: () => number;
  #last = '';
  #changedAt = -Infinity;

  /** `now`: the clock of the times that are passed in, in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Takes a turn: at once where that is `undefined`. Give it back with `leave`, unless `false` says that the turn has not
   * come in time. `nowMilliseconds` as in token_buckets.ts.
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
      this.#lookLater(line);
    });
  }

  leave(key: string, nowMilliseconds: number): void {
    const line = this.#lines.get(key);
    if (!line) return;
    line.began.shift();
    this.#letIn(line, nowMilliseconds);
    if (line.began.length === 0) this.#lines.delete(key);
  }

  /** In how many seconds to come again, where a turn would not come in time. */
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

  /** Of a client that was alone more are under way than may be: their places are given up, not passed on. */
  #hasPlace({ began }: Line, nowMilliseconds: number): boolean {
    const { length } = began;
    if (length < AT_ONCE || this.#alone(nowMilliseconds)) return true;
    return nowMilliseconds - began[length - AT_ONCE]! > WORKING_MILLISECONDS;
  }

  #letIn(line: Line, nowMilliseconds: number): void {
    while (line.waiting.length > 0 && this.#hasPlace(line, nowMilliseconds)) {
      line.began.push(nowMilliseconds);
      line.served++;
      line.waiting.shift()!.resolve(true);
    }
    while (line.waiting[0] && nowMilliseconds - line.waiting[0].since > WAITING_MILLISECONDS) {
      line.waiting.shift()!.resolve(false);
    }
  }

  #lookLater(line: Line): void {
    line.timer ??= setTimeout(() => {
      line.timer = undefined;
      this.#letIn(line, this.#now());
      if (line.waiting.length > 0) this.#lookLater(line);
    }, WORKING_MILLISECONDS).unref();
  }

  #alone(nowMilliseconds: number): boolean {
    return nowMilliseconds - this.#changedAt > ALONE_AFTER_MILLISECONDS;
  }
}
