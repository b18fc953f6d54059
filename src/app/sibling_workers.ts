/** The other processes that share the work of this node, as the app sees them. */
import type { WorkerSync } from '../limits/worker_sync.ts';

export interface SiblingWorkers extends WorkerSync {
  /** Whether this is the one that does what a node need not do more than once. */
  readonly first: boolean;
  /** Resolves when they have read the change log, or haven't answered in time: they read it soon anyway. */
  catchUp(): Promise<void>;
  /** What one of them asks for with `catchUp`. */
  onCatchUp(listener: () => Promise<void>): void;
}
