/**
 * A worker: one of the processes that share the work of a node. It follows the primary's messages and ignores signals.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { SiblingWorkers } from '../app/app.ts';
import type { Config } from '../config.ts';
import { connectDatabase, type OpenDatabase } from '../db/open.ts';
import { asCannotStart } from '../db/start_failure.ts';
import { createNodeLog, type Logger } from '../log.ts';
import { startListening, type Listeners } from './listeners.ts';
import { IpcChannel, type WorkerStart, type WorkerStarted } from './ipc.ts';
import { configOfWorker } from './worker_config.ts';

interface Work {
  readonly log: Logger;
  readonly opened: OpenDatabase;
  readonly listeners: Listeners;
}

/** How long to wait until the other workers have read the change log. A late one reads it half a second later. */
const CATCH_UP_PATIENCE_MILLISECONDS = 1_000;

export function workForPrimary(config: Config): void {
  const line = new IpcChannel(process);
  const siblings = siblingsThroughPrimary(line, config.workers);
  let work: Work | undefined;
  line.onAsked('begin', async (begin): Promise<WorkerStarted> => {
    try {
      work = await startWork(config, begin, siblings(begin.worker === 1));
      return { welcome: work.listeners.welcome };
    } catch (error) {
      const cannotStart = asCannotStart(error);
      if (cannotStart) return { refused: cannotStart.message };
      throw error;
    }
  });
  line.onAsked('alive', () => Promise.resolve(null));
  line.onAsked('readiness', () => begun(work).listeners.app.readiness());
  line.onAsked('metrics', () => begun(work).listeners.app.metrics.snapshot());
  line.onTold('drain', () => void end(config, work));
}

async function startWork(
  config: Config,
  { worker, databaseUrl, bootstrap }: WorkerStart,
  siblings: SiblingWorkers,
): Promise<Work> {
  const { log, linesDropped } = createNodeLog(config, worker);
  const share = configOfWorker(config);
  const opened = connectDatabase(databaseUrl, {
    maxConnections: share.databaseMaxConnections,
    patienceMilliseconds: share.databasePatienceMilliseconds,
    onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
  });
  return {
    log,
    opened,
    listeners: await startListening({ config: share, log, linesDropped, opened, bootstrap, siblings }),
  };
}

function begun(work: Work | undefined): Work {
  if (!work) throw new Error('This worker has not begun.');
  return work;
}

/** Drains, and ends this process in any case. */
async function end({ shutdownDelaySeconds, shutdownGraceSeconds }: Config, work: Work | undefined): Promise<void> {
  if (!work) process.exit(0);
  const { log, opened, listeners } = work;
  try {
    listeners.beginDraining();
    await delay(shutdownDelaySeconds * 1000);
    await listeners.drain(shutdownGraceSeconds * 1000);
    await opened.close();
    process.exit(0);
  } catch (error) {
    log.fatal({ error }, 'worker.stop_failed');
    process.exit(1);
  }
}

/** The other workers, reached through the primary. */
function siblingsThroughPrimary(line: IpcChannel, workers: number): (first: boolean) => SiblingWorkers {
  const handlers = new Map<string, (key: string, count: number) => void>();
  line.onTold('taken', ({ limit, key, count }) => handlers.get(limit)?.(key, count));
  const catchUp = oneAfterAnother(async () => {
    await line.ask('catch_up', null, CATCH_UP_PATIENCE_MILLISECONDS).catch(() => {});
  });
  return (first) => ({
    first,
    workers,
    report: (limit, key, count) => line.tell('taken', { limit, key, count }),
    onReport: (limit, listener) => void handlers.set(limit, listener),
    catchUp,
    onCatchUp: (listener) =>
      line.onAsked('catch_up', async () => {
        await listener();
        return null;
      }),
  });
}

/** A call during a run shares the next run, because the current one may have read too early. */
function oneAfterAnother(work: () => Promise<void>): () => Promise<void> {
  let current = Promise.resolve();
  let next: Promise<void> | undefined;
  return () =>
    (next ??= current.then(() => {
      current = work();
      next = undefined;
      return current;
    }));
}
