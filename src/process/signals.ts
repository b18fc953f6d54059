/** Handles signals that ask this process to end: the first lets running requests finish, a later one does not. */

/** npm repeats a signal that the terminal has already sent: signals within this time count as one. */
const REPEATED_SIGNAL_MILLISECONDS = 1_000;

export interface SignalHandlers {
  readonly stop: (signal: NodeJS.Signals) => void;
  /** For a signal more than a second after the first. */
  readonly endAtOnce: (signal: NodeJS.Signals) => void;
}

export function onSignals({ stop, endAtOnce }: SignalHandlers): void {
  let firstAt: number | undefined;
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (firstAt === undefined) {
        firstAt = performance.now();
        stop(signal);
      } else if (performance.now() - firstAt > REPEATED_SIGNAL_MILLISECONDS) endAtOnce(signal);
    });
  }
}
