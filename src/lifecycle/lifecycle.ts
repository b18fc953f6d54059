/** Combines the features of a node: connects their caches to the change log, runs their jobs, combines their checks. */
import { FaultLog, type FaultLogger } from '../base/fault_log.ts';
import type { Readiness } from '../http/management.ts';
import type { Metrics } from '../http/metrics.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { Cache, Feature } from './feature.ts';
import { Scheduler, type Job } from './scheduler.ts';

/** Resolves when all caches are loaded and follow the change log, and every feature has started. */
export async function startFeatures(changes: InvalidationFollower, features: readonly Feature[]): Promise<void> {
  const caches = features.flatMap((feature) => feature.caches ?? []);
  const verifyAll = async (): Promise<void> => {
    await Promise.all(features.map(async (feature) => feature.verify?.()));
  };
  for (const { topic, onChange } of caches) changes.on(topic, onChange);
  changes.onReset(() => resetAll(caches));
  changes.onReset(verifyAll);
  for (const { onDatabaseReplaced } of features) if (onDatabaseReplaced) changes.onReplaced(onDatabaseReplaced);
  // the follower starts before the caches load, so that they miss no change in between
  await changes.start();
  await Promise.all([...caches.map((cache) => cache.load?.()), verifyAll()]);
  for (const feature of features) await feature.start?.();
}

async function resetAll(caches: readonly Cache[]): Promise<void> {
  const reset = async (cache: Cache): Promise<void> => (cache.onReset ?? cache.load)?.();
  for (const cache of caches) if (cache.resetsFirst) await reset(cache);
  await Promise.all(caches.filter((cache) => !cache.resetsFirst).map(reset));
}

export async function stopFeatures(features: readonly Feature[]): Promise<void> {
  for (const feature of features.toReversed()) await feature.stop?.();
}

export interface JobsSettings {
  /** Whether this process runs the jobs that are marked as `oncePerNode`. */
  readonly runsForNode: boolean;
  /** While this returns true, all jobs do nothing. */
  readonly paused: () => boolean;
}

export function jobsOf(features: readonly Feature[], { runsForNode, paused }: JobsSettings): readonly Job[] {
  return features
    .flatMap((feature) => feature.jobs ?? [])
    .filter(({ oncePerNode = false }) => runsForNode || !oncePerNode)
    .map(({ name, everyMilliseconds, run }) => ({
      name,
      everyMilliseconds,
      run: async (signal) => paused() || run(signal),
    }));
}

/** Starts the jobs, and logs failures. They run until the returned scheduler is stopped. */
export function scheduleJobs(jobs: readonly Job[], log: FaultLogger): Scheduler {
  const faults = new FaultLog(log, { begins: 'job.failed', goesOn: 'job.still_fails', ends: 'job.works_again' });
  const scheduler = new Scheduler({
    onError: (job, error) => faults.failed(job, { job, error }),
    onSuccess: (job) => faults.worked(job, { job }),
  });
  scheduler.start(jobs);
  return scheduler;
}

export function showMetrics(metrics: Metrics, features: readonly Feature[]): void {
  for (const feature of features) feature.showMetrics?.(metrics);
}

/** The node is ready if all checks are. */
export function readinessOf(features: readonly Feature[]): Readiness {
  const found = features.flatMap(({ checks = {} }) =>
    Object.entries(checks).map(([name, check]) => [name, check()] as const),
  );
  return {
    ready: found.every(([, { ready }]) => ready),
    checks: Object.fromEntries(found.map(([name, { says }]) => [name, says])),
  };
}
