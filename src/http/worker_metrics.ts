/** Combines the Prometheus metrics of several processes of a node. */
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { Snapshot } from './metrics.ts';

type AggregatedRegistry = Omit<Registry, 'registerMetric'>;

export class WorkerMetrics {
  /** The last snapshot of each process. Process numbers are never reused. */
  readonly #last = new Map<number, Snapshot>();
  /** The counters of ended processes: if a counter decreased, Prometheus would treat it as a restart. */
  #ofEnded: Snapshot = [];

  addSnapshot(processNumber: number, snapshot: Snapshot): void {
    this.#last.set(processNumber, snapshot);
  }

  /** Adds the last snapshot of an ended process to the totals. Counts since that snapshot are lost. */
  endProcess(processNumber: number): void {
    const counted = this.#last.get(processNumber)?.filter(({ type }) => COUNTER_TYPES.has(String(type))) ?? [];
    this.#last.delete(processNumber);
    // the result has the same form as the input
    this.#ofEnded = aggregate([this.#ofEnded, counted]).getMetricsAsArray() as unknown as Snapshot;
  }

  /** Returns the metrics text of all processes, with `own` of the process that combines them. */
  text(own: Snapshot): Promise<string> {
    return aggregate([...this.#last.values(), this.#ofEnded, own]).metrics();
  }
}

const COUNTER_TYPES = new Set(['counter', 'histogram']);

function aggregate(snapshots: Snapshot[]): AggregatedRegistry {
  return AggregatorRegistry.aggregate(snapshots) as AggregatedRegistry;
}
