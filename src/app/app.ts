/**
 * Creates a node for the process that runs it. This folder connects the features: only it may import all other folders,
 * and only process/ imports it.
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
  /** Answers health probes and metrics scrapers. */
  readonly management: RequestListener;
  /** Returns the answer of `/readyz`; the primary of a node with several processes combines them. */
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Metrics;
  /** The scheduled jobs, so that tests can run them at once. */
  readonly jobs: readonly Job[];
  /** Creates the clients and the account for development, or reads those that an earlier start created. */
  bootstrap(): Promise<Bootstrap>;
  /** Makes `/readyz` fail from now on, so that a load balancer uses other nodes. */
  beginDraining(): void;
  /** Writes all waiting data and releases all resources. Call it after the last request. */
  stop(): Promise<void>;
}

/** Creates a node on a migrated database. When this resolves, the node can answer requests. */
export async function createApp(settings: AppSettings): Promise<App> {
  const { linesDropped = () => 0, siblings, log } = settings;
  const metrics = new Metrics();
  const { features, difference, pipeline, bootstrap } = await createNode(settings, metrics);
  countLogLines(metrics, linesDropped);
  showMetrics(metrics, features);
  // with a wrong clock, this node can't tell which jobs are due and which rows have expired
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
