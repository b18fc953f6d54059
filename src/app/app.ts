/** A node as its process sees it. This folder is where the parts meet, and nowhere else. */
import type { RequestListener } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { FaultLog } from '../base/fault_log.ts';
import { bootstrapDevelopment, type Bootstrap } from '../bootstrap/development.ts';
import { countRefused } from '../clients/server_demands.ts';
import { bootstrapFile } from '../config.ts';
import { management, type Readiness } from '../http/management.ts';
import { Metrics } from '../http/metrics.ts';
import { Scheduler, type Job } from '../maintenance/scheduler.ts';
import { createRequestPipeline, type RequestPipeline } from './request_pipeline.ts';
import { createNode, type AppSettings, type Node } from './node.ts';
import { jobs, readiness, showGauges } from './jobs_and_metrics.ts';

export interface App extends RequestPipeline {
  /** Answers probes and scrapers. */
  readonly management: RequestListener;
  /** What `management` answers with, for a node of several processes. */
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Metrics;
  /** What it does by itself, again and again; for those who can't wait that long. */
  readonly jobs: readonly Job[];
  /** Makes what development starts with, or finds it was left. */
  bootstrap(): Promise<Bootstrap>;
  /** From now on `/readyz` says no, so that a load balancer looks elsewhere. */
  beginDraining(): void;
  /** After the last request: writes what waits and lets go of everything. */
  stop(): Promise<void>;
}

/** Builds a node on an open, migrated database: when this resolves it can answer. */
export async function createApp(settings: AppSettings): Promise<App> {
  const house = await createNode(settings);
  const itsJobs = jobs(settings, house);
  const faults = new FaultLog(settings.log, {
    begins: 'job.failed',
    goesOn: 'job.still_fails',
    ends: 'job.works_again',
  });
  const scheduler = new Scheduler({
    onError: (job, error) => faults.failed(job, { job, error }),
    onSuccess: (job) => faults.worked(job, { job }),
  });
  scheduler.start(itsJobs);
  const metrics = new Metrics();
  showGauges(metrics, settings, house);
  let draining = false;
  const isReady = (): Promise<Readiness> => Promise.resolve(readiness(settings, house, draining));
  const front = createRequestPipeline(settings, house, metrics);
  if (settings.siblings?.first ?? true) {
    house.outbox.start();
    await warnOfRefusedClients(settings);
  }
  return {
    ...front,
    jobs: itsJobs,
    management: management({ metrics, readiness: isReady }),
    readiness: isReady,
    metrics,
    bootstrap: () => bootstrap(settings, house),
    beginDraining() {
      draining = true;
    },
    async stop() {
      await scheduler.stop();
      house.traffic.stop();
      await house.argon2id.stop();
      await house.outbox.stop();
      await house.changes.stop();
      await house.uses.write().catch((error: unknown) => settings.log.warn({ error }, 'secret_uses.lost'));
      await house.trail.refusals
        .write(true)
        .catch((error: unknown) =>
          settings.log.warn({ error, refusals: house.trail.refusals.waiting }, 'audit.repeated_refusals_lost'),
        );
      await house.checkpoints
        .make()
        .catch((error: unknown) => settings.log.warn({ error }, 'audit.checkpoint_not_made'));
      await letGo(house, settings.log);
    },
  };
}

const ADVICE =
  'Register keys for these clients, or certificates. An admin that has none gets in with one that create-admin --jwks makes.';

/** A setting that was just switched on turns clients away that were served before. */
async function warnOfRefusedClients({ config: { clientDemands }, database, log }: AppSettings): Promise<void> {
  const clients = await countRefused(database, clientDemands);
  if (clients === 0) return;
  const setting = 'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION';
  log.warn({ clients, setting, advice: ADVICE }, 'clients.refused_by_setting');
}

/** More than the longest pause between two looks. */
const LAST_CHANCE_MILLISECONDS = 1_200;

/** What is held is written if the database is back, or else lost with this process. */
async function letGo({ breaker, standing: { held } }: Node, log: AppSettings['log']): Promise<void> {
  const until = performance.now() + LAST_CHANCE_MILLISECONDS;
  while (held.count > 0) {
    if (await breaker.check()) continue;
    if (performance.now() > until) break;
    await delay(50);
  }
  if (held.count > 0) log.error({ entries: held.count }, 'audit.entries_lost');
  await breaker.stop();
}

async function bootstrap(
  { config, database, clock }: AppSettings,
  { trail, vault, argon2id, adminApi, changes }: Node,
): Promise<Bootstrap> {
  const settings = {
    issuer: config.issuer,
    file: bootstrapFile(config),
    adminApi,
    database,
    databaseIsOwn: config.databaseUrl === undefined,
    trail,
    vault,
    argon2id,
    now: clock(),
  };
  const made = await bootstrapDevelopment(settings);
  await changes.catchUp();
  return made;
}
