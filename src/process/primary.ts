/**
 * The first process of a node with several workers. It opens the database, starts the workers, answers probes for all
 * of them, replaces workers that end, and stops them. It handles no requests: worker_pool.ts explains how connections
 * reach a worker.
 */
import type { Interruption } from '../base/interruption.ts';
import type { Config } from '../config.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { management, combineReadiness, type Readiness } from '../http/management.ts';
import { countLogLines, Metrics } from '../http/metrics.ts';
import { WorkerMetrics } from '../http/worker_metrics.ts';
import { createNodeLog } from '../log.ts';
import { noteServiceLinks } from './service_link_notice.ts';
import { listenForManagement, logStarted, stopOnSignal, version } from './start_and_stop.ts';
import { WorkerPool } from './worker_pool.ts';

/** The time of a drain besides the configured pauses: writing what is buffered, closing connections. */
const ENDING_MILLISECONDS = 10_000;
const PROBE_PATIENCE_MILLISECONDS = 2_000;

export async function leadWorkers(config: Config, interruption: Interruption): Promise<void> {
  const { log, linesDropped, print } = createNodeLog(config);
  noteServiceLinks(config, log);
  const together = new WorkerMetrics();
  // the workers load their code while the database opens
  const workers = new WorkerPool({
    count: config.workers,
    bootstrap: !config.production,
    log,
    onEnded: (processNumber) => together.endProcess(processNumber),
    onNoneLeft: ({ message }) => {
      log.fatal({ reason: message }, 'gatehouse.no_worker_left');
      process.stderr.write(`Gatehouse must stop: no worker is left, and no new one can start. ${message}\n`);
      process.exit(1);
    },
  });
  interruption.onInterrupted(async () => workers.kill());
  let opened: OpenDatabase | undefined;
  let draining = false;
  try {
    const release = await version();
    opened = await openDatabase({
      databaseUrl: config.databaseUrl,
      ownerDatabaseUrl: config.ownerDatabaseUrl,
      dataDir: config.dataDir,
      interruption,
      maxConnections: 1,
      onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
    });
    const welcome = await workers.begin(opened.connectionString);
    const { server, port } = await listenForManagement(
      management({
        readiness: () => readinessOfAll(workers, config.workers, draining),
        metrics: metricsOfAll(workers, together, linesDropped),
      }),
      config,
      log,
    );
    if (interruption.interrupted) return;
    logStarted({ config, log, print, managementPort: port, release, welcome });
    interruption.end();
    const finish = async (reason: string): Promise<void> => {
      draining = true;
      const pauses = (config.shutdownDelaySeconds + config.shutdownGraceSeconds) * 1000;
      if (!(await workers.end(reason, pauses + ENDING_MILLISECONDS))) process.exitCode = 1;
      await server.drain(1000);
    };
    stopOnSignal({ opened, log, finish, kill: () => workers.kill() });
  } catch (error) {
    workers.kill();
    await opened?.close();
    throw error;
  }
}

/**
 * Ready if at least one worker serves and all serving workers are ready. A worker that is being replaced gets no
 * connections and does not count. One worker with outdated data makes the node unready, even if the others are ready.
 */
async function readinessOfAll(workers: WorkerPool, count: number, draining: boolean): Promise<Readiness> {
  const none: Readiness = { ready: false, checks: { worker: 'does not answer' } };
  const all = await Promise.all(
    workers.serving.map(({ line }) => line.ask('readiness', null, PROBE_PATIENCE_MILLISECONDS).catch(() => none)),
  );
  const { ready: allReady, checks } = combineReadiness(all);
  return {
    ready: allReady && !draining,
    checks: {
      ...checks,
      workers: `${all.filter(({ ready }) => ready).length} of ${count} ready`,
      shutdown: draining ? 'draining' : 'ok',
    },
  };
}

function metricsOfAll(workers: WorkerPool, together: WorkerMetrics, linesDropped: () => number) {
  const own = new Metrics({ ofProcess: false });
  own.gauge('gatehouse_workers', 'Processes of this node that answer requests.', () => workers.serving.length);
  own.counter(
    'gatehouse_workers_replaced_total',
    'Processes that took the place of one that ended.',
    () => workers.replaced,
  );
  countLogLines(own, linesDropped);
  return {
    contentType: own.contentType,
    async text(): Promise<string> {
      await Promise.allSettled(
        workers.serving.map(async ({ line, process: { id } }) =>
          together.addSnapshot(id, await line.ask('metrics', null, PROBE_PATIENCE_MILLISECONDS)),
        ),
      );
      return together.text(await own.snapshot());
    },
  };
}
