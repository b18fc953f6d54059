/** One of the processes that share the work of a node. It does what the primary says; signals are the primary's. */
import { setTimeout as delay } from 'node:timers/promises';
import type { SiblingWorkers } from '../app/app.ts';
import type { Config } from '../config.ts';
import { connectDatabase, type OpenDatabase } from '../db/open.ts';
import { asCannotStart } from '../db/start_failure.ts';
import { createNodeLog, type Logger } from '../log.ts';
import { startListening, type Listeners } from './listeners.ts';
import { IpcChannel, type Begin, type Begun } from './ipc.ts';
import { configOfWorker } from './worker_config.ts';

interface Work {
  readonly log: Logger;
  readonly opened: OpenDatabase;
  readonly answering: Listeners;
}

/** How long to wait for the others to read the change log: what they don't hear now they read half a second later. */
const CATCH_UP_PATIENCE_MILLISECONDS = 1_000;

export function workForPrimary(config: Config): void {
  const line = new IpcChannel(process);
  const siblings = siblingsBehind(line, config.workers);
  let work: Work | undefined;
  line.onAsked('begin', async (begin): Promise<Begun> => {
    try {
      work = await startWork(config, begin, siblings(begin.worker === 1));
      return { welcome: work.answering.welcome };
    } catch (error) {
      const told = asCannotStart(error);
      if (told) return { refused: told.message };
      throw error;
    }
  });
  line.onAsked('alive', () => Promise.resolve(null));
  line.onAsked('readiness', () => begun(work).answering.app.readiness());
  line.onAsked('metrics', () => begun(work).answering.app.metrics.snapshot());
  line.onTold('drain', () => void end(config, work));
}

async function startWork(
  config: Config,
  { worker, databaseUrl, bootstrap }: Begin,
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
    answering: await startListening({ config: share, log, linesDropped, opened, bootstrap, siblings }),
  };
}

function begun(work: Work | undefined): Work {
  if (!work) throw new Error('This worker has not begun.');
  return work;
}

/** Ends this process, whatever happens. */
async function end({ shutdownDelaySeconds, shutdownGraceSeconds }: Config, work: Work | undefined): Promise<void> {
  if (!work) process.exit(0);
  const { log, opened, answering } = work;
  try {
    answering.leave();
    await delay(shutdownDelaySeconds * 1000);
    await answering.drain(shutdownGraceSeconds * 1000);
    await opened.close();
    process.exit(0);
  } catch (error) {
    log.fatal({ error }, 'worker.stop_failed');
    process.exit(1);
  }
}

/** Everybody else, as one sees them through the primary. */
function siblingsBehind(line: IpcChannel, workers: number): (first: boolean) => SiblingWorkers {
  const listeners = new Map<string, (key: string, count: number) => void>();
  line.onTold('taken', ({ limit, key, count }) => listeners.get(limit)?.(key, count));
  const catchUp = oneAfterAnother(async () => {
    await line.ask('catch_up', null, CATCH_UP_PATIENCE_MILLISECONDS).catch(() => {});
  });
  return (first) => ({
    first,
    workers,
    tell: (limit, key, count) => line.tell('taken', { limit, key, count }),
    onTold: (limit, listener) => void listeners.set(limit, listener),
    catchUp,
    onCatchUp: (listener) =>
      line.onAsked('catch_up', async () => {
        await listener();
        return null;
      }),
  });
}

/** Whoever comes while one is under way shares the next one, for the one under way may have looked too early. */
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
