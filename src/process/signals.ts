/** Signals that ask this process to end: the first lets it finish what is under way, another one does not. */

/** npm passes on a signal that the terminal has sent already: what arrives together is one wish. */
const SAME_WISH_MILLISECONDS = 1_000;

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
      } else if (performance.now() - firstAt > SAME_WISH_MILLISECONDS) endAtOnce(signal);
    });
  }
}
