/**
 * What the processes of one node tell one another, so that a limit means the same however many they are. Each counts in
 * its own memory, for asking the others at every request would cost more than most requests do; it tells them what was
 * taken, in portions.
 */
export interface WorkerSync {
  /** How many processes there are with this one. */
  readonly workers: number;
  tell(limit: string, key: string, count: number): void;
  /** Hears what the others tell. */
  onTold(limit: string, listener: (key: string, count: number) => void): void;
}
