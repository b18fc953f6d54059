/**
 * Shares counts among the processes of one node, so that a limit is the same for any number of processes. Each counts
 * in its own memory, because asking the others for each request costs more than most requests do; it reports its counts
 * to them in portions.
 */
export interface WorkerSync {
  /** The number of processes, including this one. */
  readonly workers: number;
  report(limit: string, key: string, count: number): void;
  /** Calls `listener` for each report of the other processes. */
  onReport(limit: string, listener: (key: string, count: number) => void): void;
}
