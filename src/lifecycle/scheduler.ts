/** Runs each job periodically, independently of the others, and never twice at once. Repeats failed jobs. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Job {
  readonly name: string;
  readonly everyMilliseconds: number;
  /** `signal` is aborted when the node stops, so that a long job ends early. */
  run(signal: AbortSignal): Promise<unknown>;
}

export interface SchedulerSettings {
  readonly onError: (job: string, error: unknown) => void;
  readonly onSuccess: (job: string) => void;
}

export class Scheduler {
  readonly #stopping = new AbortController();
  readonly #settings: SchedulerSettings;
  #loops: Promise<void>[] = [];

  constructor(settings: SchedulerSettings) {
    this.#settings = settings;
  }

  start(jobs: readonly Job[]): void {
    this.#loops = jobs.map((job) => this.#repeat(job));
  }

  /** Waits for running jobs. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async #repeat(job: Job): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // the wait is random, so that nodes that start together do not run their jobs at the same time
      const wait = job.everyMilliseconds * (0.75 + Math.random() / 2);
      await delay(wait, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      const { onError, onSuccess } = this.#settings;
      await job.run(signal).then(
        () => onSuccess(job.name),
        (error: unknown) => onError(job.name, error),
      );
    }
  }
}
