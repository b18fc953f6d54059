/**
 * A node as its process sees it. This folder connects the features: it is the only one that may import all others, and
 * nothing here is imported but by the process that runs the node (process/).
 */
import type { RequestListener } from 'node:http';
import type { Bootstrap } from '../bootstrap/development.ts';
import { management, type Readiness } from '../http/management.ts';
import { countLogLines, Metrics } from '../http/metrics.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { jobsOf, readinessOf, scheduleJobs, showMetrics, stopFeatures } from '../lifecycle/lifecycle.ts';
import type { Job } from '../lifecycle/scheduler.ts';
import type { AppSettings } from './app_settings.ts';
import { createNode } from './node.ts';
import type { RequestPipeline } from './request_pipeline.ts';

export type { SiblingWorkers } from './sibling_workers.ts';

export interface App extends RequestPipeline {
  /** Answers probes and scrapers. */
  readonly management: RequestListener;
  /** The answer of `/readyz`, for a node of several processes. */
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Metrics;
  /** The scheduled jobs, for callers that can't wait for the schedule. */
  readonly jobs: readonly Job[];
  /** Makes what development starts with, or finds what an earlier start has left. */
  bootstrap(): Promise<Bootstrap>;
  /** From now on `/readyz` says no, so that a load balancer looks elsewhere. */
  beginDraining(): void;
  /** After the last request: writes what waits and releases all resources. */
  stop(): Promise<void>;
}

/** Builds a node on an open, migrated database: when this resolves it can answer. */
export async function createApp(settings: AppSettings): Promise<App> {
  const { linesDropped = () => 0, siblings, log } = settings;
  const metrics = new Metrics();
  const { features, difference, pipeline, bootstrap } = await createNode(settings, metrics);
  countLogLines(metrics, linesDropped);
  showMetrics(metrics, features);
  // a wrong clock does not know which jobs are due, and what has expired
  const jobs = jobsOf(features, { runsForNode: siblings?.first ?? true, paused: () => difference.tooFar });
  const scheduler = scheduleJobs(jobs, log);
  let draining = false;
  const shutdown: Feature = {
    checks: { shutdown: () => ({ ready: !draining, says: draining ? 'draining' : 'ok' }) },
  };
  const readiness = (): Promise<Readiness> => Promise.resolve(readinessOf([...features, shutdown]));
  return {
    ...pipeline,
    jobs,
    management: management({ metrics, readiness }),
    readiness,
    metrics,
    bootstrap,
    beginDraining() {
      draining = true;
    },
    async stop() {
      await scheduler.stop();
      await stopFeatures(features);
    },
  };
}
