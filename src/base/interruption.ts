/**
 * A signal that tells this process to stop while it still starts, or while a command runs. Its handlers are there from
 * the first moment: for process 1 of a container signals have no default action.
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
  readonly #hear = (signal: Signal): void => this.#interrupt(signal);
  #interrupted = false;

  constructor(settings: InterruptionSettings) {
    this.#settings = settings;
    for (const signal of SIGNALS) process.on(signal, this.#hear);
  }

  /** Whether this process is about to exit: what fails from now on is a consequence, and nothing more is said. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /** `step` undoes what would outlive this process, such as another process. Returns what takes it back. */
  onInterrupted(step: Step): () => void {
    this.#steps.add(step);
    return () => void this.#steps.delete(step);
  }

  /** From now on signals are for others to handle. */
  end(): void {
    for (const signal of SIGNALS) process.off(signal, this.#hear);
  }

  /** npm passes a signal on that the terminal has sent already, so all but the first are the same wish. */
  #interrupt(signal: Signal): void {
    if (this.#interrupted) return;
    this.#interrupted = true;
    process.stderr.write(`${this.#settings.sentence(signal)}\n`);
    setTimeout(() => process.exit(1), UNDO_MILLISECONDS);
    void this.#undo().finally(() => process.exit(this.#settings.exitCode(signal)));
  }

  /** The newest first. */
  async #undo(): Promise<void> {
    for (const step of [...this.#steps].toReversed()) await step().catch(() => {});
  }
}
