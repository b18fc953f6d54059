/**
 * Handles a signal to stop during the start or a command. The handlers are set first, because signals have no default
 * action for process 1 of a container.
 */

type Step = () => Promise<unknown>;

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
type Signal = (typeof SIGNALS)[number];

/** How long it may take to undo what has begun. */
const UNDO_MILLISECONDS = 30_000;

export interface InterruptionSettings {
  readonly sentence: (signal: Signal) => string;
  readonly exitCode: (signal: Signal) => number;
}

export class Interruption {
  readonly #settings: InterruptionSettings;
  readonly #steps = new Set<Step>();
  readonly #onSignal = (signal: Signal): void => this.#interrupt(signal);
  #interrupted = false;

  constructor(settings: InterruptionSettings) {
    this.#settings = settings;
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  /** Whether this process is about to exit. Later errors are a consequence and are not reported. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /**
   * `step` undoes work that would outlive this process, such as another process. Returns a function that removes the
   * step.
   */
  onInterrupted(step: Step): () => void {
    this.#steps.add(step);
    return () => void this.#steps.delete(step);
  }

  /** Removes the handlers, so that others can handle signals. */
  end(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  /** Handles only the first signal, because npm repeats a signal that the terminal has already sent. */
  #interrupt(signal: Signal): void {
    if (this.#interrupted) return;
    this.#interrupted = true;
    process.stderr.write(`${this.#settings.sentence(signal)}\n`);
    setTimeout(() => process.exit(1), UNDO_MILLISECONDS);
    void this.#undo().finally(() => process.exit(this.#settings.exitCode(signal)));
  }

  /** The newest step first. */
  async #undo(): Promise<void> {
    for (const step of [...this.#steps].toReversed()) await step().catch(() => {});
  }
}
