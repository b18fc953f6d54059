/**
 * The workers of a node, as its primary manages them: each has a place with a number. A worker that ends is replaced,
 * the first time at once, then after growing pauses. A worker that does not react is killed.
 *
 * All workers accept connections from one socket that the primary holds. A worker that is busy, stopped or gone accepts
 * none, and no connection is lost before a worker accepts it. If the primary accepted connections and passed them on,
 * as Node does by default, each would cost it work, and a connection on its way to a dying worker would hang. With a
 * socket for each worker (SO_REUSEPORT), the connections that wait at a worker would end with it, and a second
 * Gatehouse could share the port instead of failing.
 */
import cluster, { type Worker } from 'node:cluster';
import { setTimeout as delay } from 'node:timers/promises';
import { CannotStart } from '../base/cannot_start.ts';
import type { Logger } from '../log.ts';
import { IpcChannel } from './ipc.ts';

export interface WorkerPoolSettings {
  readonly count: number;
  readonly bootstrap: boolean;
  readonly log: Logger;
  /** Called with the number of a process that has ended. */
  readonly onEnded: (processNumber: number) => void;
  /** Called when the last worker has ended and no new one can start. */
  readonly onNoneLeft: (error: CannotStart) => void;
}

interface Running {
  readonly process: Worker;
  readonly line: IpcChannel;
  readonly ended: Promise<Ending>;
  /** Whether it answers requests. */
  serving: boolean;
}

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
}

const FIRST_PAUSE_MILLISECONDS = 250;
const LONGEST_PAUSE_MILLISECONDS = 30_000;
/** A worker that lived this long did not fail because of its start. */
const LIVED_MILLISECONDS = 60_000;
const CHECK_MILLISECONDS = 5_000;
const UNRESPONSIVE_MILLISECONDS = 30_000;
const CATCH_UP_PATIENCE_MILLISECONDS = 500;

export class WorkerPool {
  readonly #settings: WorkerPoolSettings;
  readonly #places: (Running | undefined)[] = [];
  #databaseUrl = '';
  #stopping = false;
  #replaced = 0;
  #badEnding = false;

  /** Starts the first worker, which loads its code and waits for `begin`. */
  constructor(settings: WorkerPoolSettings) {
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    this.#settings = settings;
    this.#places.push(this.#launch());
  }

  /** The workers that answer requests. */
  get serving(): readonly Pick<Running, 'process' | 'line'>[] {
    return this.#places.filter((running) => running?.serving).map((running) => running!);
  }

  get replaced(): number {
    return this.#replaced;
  }

  /**
   * The first worker begins alone, so that one-time work is done once, an error is reported once, and nothing delays
   * the first response. Then the others begin. Resolves with the text to print, and throws `CannotStart` if a worker
   * can't start.
   */
  async begin(databaseUrl: string): Promise<string | undefined> {
    this.#databaseUrl = databaseUrl;
    const welcome = await this.#begin(1, this.#places[0]!, this.#settings.bootstrap);
    while (this.#places.length < this.#settings.count) this.#places.push(this.#launch());
    const all = this.#places.map((running, index) => ({ worker: index + 1, running: running! }));
    await Promise.all(all.slice(1).map(({ worker, running }) => this.#begin(worker, running, false)));
    for (const { worker, running } of all) void this.#keepRunning(worker, running);
    return welcome;
  }

  /**
   * Resolves when all workers have ended; those that take longer than `atMostMilliseconds` are killed. Returns whether
   * all ended well.
   */
  async end(reason: string, atMostMilliseconds: number): Promise<boolean> {
    this.#stopping = true;
    const running = this.#places.filter((one) => one !== undefined);
    for (const { line } of running) line.tell('drain', { reason });
    const late = setTimeout(() => {
      this.#badEnding = true;
      for (const { process } of running) process.process.kill('SIGKILL');
    }, atMostMilliseconds);
    await Promise.all(running.map(({ ended }) => ended));
    clearTimeout(late);
    return !this.#badEnding;
  }

  kill(): void {
    this.#stopping = true;
    for (const running of this.#places) running?.process.process.kill('SIGKILL');
  }

  #launch(): Running {
    const worker = cluster.fork();
    const line = new IpcChannel(worker);
    const ended = new Promise<Ending>((resolve) => {
      worker.once('exit', (code: number | null, signal: string | null) => resolve({ code, signal }));
    });
    // the sender of a message that can't be sent gets the error
    worker.on('error', () => {});
    const running: Running = { process: worker, line, ended, serving: false };
    void ended.then(({ code }) => {
      running.serving = false;
      line.close();
      this.#settings.onEnded(worker.id);
      if (this.#stopping && code !== 0) this.#badEnding = true;
    });
    line.onTold('taken', (taken) => {
      for (const other of this.serving) if (other.process !== worker) other.line.tell('taken', taken);
    });
    line.onAsked('catch_up', async () => {
      const others = this.serving.filter(({ process }) => process !== worker);
      await Promise.allSettled(others.map((other) => other.line.ask('catch_up', null, CATCH_UP_PATIENCE_MILLISECONDS)));
      return null;
    });
    return running;
  }

  async #begin(worker: number, running: Running, bootstrap: boolean): Promise<string | undefined> {
    const begin = { worker, databaseUrl: this.#databaseUrl, bootstrap };
    const begun = await running.line.ask('begin', begin).catch(async (error: unknown) => {
      if (running.process.isConnected()) throw error;
      const { code, signal } = await running.ended;
      throw new CannotStart(`Worker ${worker} ended with ${signal ?? `code ${code}`} before it was ready.`);
    });
    if (begun.refused !== undefined) throw new CannotStart(begun.refused);
    running.serving = true;
    void this.#watch(worker, running);
    return begun.welcome;
  }

  /** Replaces the worker of a place each time it ends. */
  async #keepRunning(worker: number, first: Running): Promise<void> {
    let pause = 0;
    for (let running = first; ;) {
      const since = performance.now();
      const { code, signal } = await running.ended;
      this.#places[worker - 1] = undefined;
      if (this.#stopping) return;
      pause = performance.now() - since > LIVED_MILLISECONDS ? 0 : pause;
      const { pid } = running.process.process;
      this.#settings.log.error(
        { worker, worker_pid: pid, exit_code: code, signal, replaced_in_milliseconds: pause },
        'worker.ended',
      );
      await delay(pause, undefined, { ref: false });
      if (this.#stopping) return;
      pause = Math.min(LONGEST_PAUSE_MILLISECONDS, Math.max(FIRST_PAUSE_MILLISECONDS, pause * 2));
      running = this.#launch();
      this.#places[worker - 1] = running;
      await this.#replace(worker, running);
    }
  }

  async #replace(worker: number, running: Running): Promise<void> {
    const { log, onNoneLeft } = this.#settings;
    try {
      await this.#begin(worker, running, false);
      this.#replaced++;
      log.info({ worker, worker_pid: running.process.process.pid }, 'worker.replaced');
    } catch (error) {
      if (this.#stopping) return;
      log.error({ worker, error }, 'worker.not_replaced');
      running.process.process.kill('SIGKILL');
      if (error instanceof CannotStart && this.serving.length === 0) onNoneLeft(error);
    }
  }

  /** Kills a worker that does not react, because it accepts connections and never answers them. */
  async #watch(worker: number, running: Running): Promise<void> {
    while (running.serving && !this.#stopping) {
      await delay(CHECK_MILLISECONDS, undefined, { ref: false });
      const reacts = await running.line.ask('alive', null, UNRESPONSIVE_MILLISECONDS).then(
        () => true,
        () => false,
      );
      if (reacts || !running.serving || this.#stopping) continue;
      this.#settings.log.error({ worker, worker_pid: running.process.process.pid }, 'worker.unresponsive');
      running.process.process.kill('SIGKILL');
      return;
    }
  }
}
