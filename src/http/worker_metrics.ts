/** Prometheus metrics of several processes as if they were one. */
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { Snapshot } from './metrics.ts';

type Together = Omit<Registry, 'registerMetric'>;

export class WorkerMetrics {
  /** By a number of each process that no later one has. */
  readonly #last = new Map<number, Snapshot>();
  /** What those have counted that are gone: a counter that fell would look like one that began anew. */
  #ofEnded: Snapshot = [];

  took(processNumber: number, snapshot: Snapshot): void {
    this.#last.set(processNumber, snapshot);
  }

  /** What it has counted since it was last asked is lost with it. */
  ended(processNumber: number): void {
    const counted = this.#last.get(processNumber)?.filter(({ type }) => COUNTING.has(String(type))) ?? [];
    this.#last.delete(processNumber);
    // what comes out of it is what goes into it
    this.#ofEnded = together([this.#ofEnded, counted]).getMetricsAsArray() as unknown as Snapshot;
  }

  /** As they were last taken, with `own` of the process that collects them. */
  text(own: Snapshot): Promise<string> {
    return together([...this.#last.values(), this.#ofEnded, own]).metrics();
  }
}

const COUNTING = new Set(['counter', 'histogram']);

function together(snapshots: Snapshot[]): Together {
  return AggregatorRegistry.aggregate(snapshots) as Together;
}
