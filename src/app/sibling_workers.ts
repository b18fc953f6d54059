/** The app's interface to the other processes of this node. */
import type { WorkerSync } from '../limits/worker_sync.ts';

export interface SiblingWorkers extends WorkerSync {
  /** Whether this process does the work that a node does only once. */
  readonly first: boolean;
  /** Resolves when they have read the change log, or after a time limit, because they also poll it. */
  catchUp(): Promise<void>;
  /** Calls `listener` when another process calls `catchUp`. */
  onCatchUp(listener: () => Promise<void>): void;
}
