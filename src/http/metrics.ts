/** Prometheus metrics of this process. */
import type Koa from 'koa';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry, type Aggregator } from 'prom-client';

/** A completed request. */
export interface CompletedRequest {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  /** Start of the request as `performance.now()`, in milliseconds. */
  readonly began: number;
}

/** Returns the route label of a path. */
export type RouteOf = (path: string) => string;

/** Limits the values of the label to `routes`: any other path counts as `other`. */
export function routeAmong(routes: readonly string[]): RouteOf {
  const known = [...routes].sort((a, b) => b.length - a.length);
  return (path) => known.find((candidate) => path === candidate || path.startsWith(`${candidate}/`)) ?? 'other';
}

/** All values of one process at one time, as plain data that can be sent to another process. */
export type Snapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

const LONGEST_PRECISION_MILLISECONDS = 3_600_000;

/** Help texts and aggregators of prom-client. */
const LOOP_STATISTICS = {
  min: ['The minimum recorded event loop delay.', 'min'],
  max: ['The maximum recorded event loop delay.', 'max'],
  mean: ['The mean of the recorded event loop delays.', 'average'],
  stddev: ['The standard deviation of the recorded event loop delays.', 'average'],
  p50: ['The 50th percentile of the recorded event loop delays.', 'average'],
  p90: ['The 90th percentile of the recorded event loop delays.', 'average'],
  p99: ['The 99th percentile of the recorded event loop delays.', 'average'],
} as const satisfies Record<string, readonly [help: string, aggregator: Aggregator]>;

type LoopStatistic = keyof typeof LOOP_STATISTICS;

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'method' | 'route' | 'status'>;
  readonly #durations: Histogram<'route'>;

  /** Includes Node's process metrics unless `ofProcess` is false. */
  constructor({ ofProcess = true } = {}) {
    if (ofProcess) this.#collectProcessMetrics();
    this.#requests = new Counter({
      name: 'gatehouse_http_requests_total',
      help: 'Requests answered, by method, route and status.',
      labelNames: ['method', 'route', 'status'],
      registers: [this.#registry],
    });
    this.#durations = new Histogram({
      name: 'gatehouse_http_request_duration_seconds',
      help: 'Time from the arrival of a request to its answer, by route.',
      labelNames: ['route'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      registers: [this.#registry],
    });
  }

  /** A gauge whose value is read at each scrape; `aggregator` combines the values of a node's processes. */
  gauge(name: string, help: string, read: () => number, aggregator: Aggregator = 'sum'): void {
    const registers = [this.#registry];
    const gauge: Gauge = new Gauge({ name, help, registers, aggregator, collect: () => gauge.set(read()) });
  }

  /** A counter that is maintained elsewhere and read at each scrape. */
  counter(name: string, help: string, read: () => number): void {
    const counter: Counter = new Counter({
      name,
      help,
      registers: [this.#registry],
      collect() {
        counter.reset();
        counter.inc(read());
      },
    });
  }

  /** Counters of one kind, told apart by `label`. */
  counters(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        counter.reset();
        for (const [value, count] of Object.entries(read())) counter.inc({ [label]: value }, count);
      },
    });
  }

  /** Gauges of one kind, read at each scrape and told apart by `label`. */
  gauges(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        for (const [value, count] of Object.entries(read())) gauge.set({ [label]: value }, count);
      },
    });
  }

  /** Event loop delays, in nanoseconds. `take` returns the statistics and starts a new period. */
  eventLoop(take: () => Readonly<Record<LoopStatistic, number>>): void {
    const gauges = new Map<LoopStatistic, Gauge>();
    const takeAll = (): void => {
      for (const [statistic, nanoseconds] of Object.entries(take()))
        gauges.get(statistic as LoopStatistic)?.set(nanoseconds / 1e9);
    };
    for (const [statistic, [help, aggregator]] of Object.entries(LOOP_STATISTICS)) {
      const gauge = new Gauge({
        name: `nodejs_eventloop_lag_${statistic}_seconds`,
        help,
        registers: [this.#registry],
        aggregator,
        // the gauge that is read first updates all of them
        ...(gauges.size === 0 && { collect: takeAll }),
      });
      gauges.set(statistic as LoopStatistic, gauge);
    }
  }

  measure(routeOf: RouteOf): Koa.Middleware {
    return async (ctx, next) => {
      const began = performance.now();
      try {
        await next();
      } finally {
        this.observe({ method: ctx.method, route: routeOf(ctx.path), status: ctx.status, began });
      }
    };
  }

  observe({ method: given, route, status, began }: CompletedRequest): void {
    const method = KNOWN_METHODS.has(given) ? given : 'other';
    this.#requests.inc({ method, route, status: String(status) });
    this.#durations.observe({ route }, (performance.now() - began) / 1000);
  }

  /**
   * Collects prom-client's default metrics except its event loop statistics, which would keep waking an idle process.
   */
  #collectProcessMetrics(): void {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: LONGEST_PRECISION_MILLISECONDS });
    for (const statistic of Object.keys(LOOP_STATISTICS))
      this.#registry.removeSingleMetric(`nodejs_eventloop_lag_${statistic}_seconds`);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  snapshot(): Promise<Snapshot> {
    return this.#registry.getMetricsAsJSON();
  }
}

/** Counts the log lines that this process dropped; each process of a node has its own log. */
export function countLogLines(metrics: Metrics, dropped: () => number): void {
  metrics.counter('gatehouse_log_lines_dropped_total', 'Lines of the log that standard output did not take.', dropped);
}

const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
