/** A node of one process: it opens the database, answers requests, and drains by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Interruption } from '../base/interruption.ts';
import type { Config } from '../config.ts';
import { openDatabase } from '../db/open.ts';
import { createNodeLog } from '../log.ts';
import type { Listeners } from './listeners.ts';
import { noteServiceLinks } from './service_link_notice.ts';
import { listenForManagement, logStarted, stopOnSignal, version, type Management } from './start_and_stop.ts';

export async function serveInOneProcess(config: Config, interruption: Interruption): Promise<void> {
  const { log, linesDropped, print } = createNodeLog(config);
  noteServiceLinks(config, log);
  const release = await version();
  // most of a start is loading code; the database opens at the same time
  const [opened, { startListening }] = await Promise.all([
    openDatabase({
      databaseUrl: config.databaseUrl,
      ownerDatabaseUrl: config.ownerDatabaseUrl,
      dataDir: config.dataDir,
      interruption,
      maxConnections: config.databaseMaxConnections,
      patienceMilliseconds: config.databasePatienceMilliseconds,
      onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
    }),
    import('./listeners.ts'),
  ]);
  let listeners: Listeners | undefined;
  let management: Management;
  try {
    listeners = await startListening({ config, log, linesDropped, opened, bootstrap: !config.production });
    management = await listenForManagement(listeners.app.management, config, log);
  } catch (error) {
    await listeners?.drain(0);
    await opened.close();
    throw error;
  }
  const { welcome, beginDraining, drain } = listeners;
  if (interruption.interrupted) return;
  logStarted({ config, log, print, managementPort: management.port, release, welcome });
  interruption.end();
  const finish = async (): Promise<void> => {
    beginDraining();
    await delay(config.shutdownDelaySeconds * 1000);
    await drain(config.shutdownGraceSeconds * 1000);
    await management.server.drain(1000);
  };
  stopOnSignal({ opened, log, finish });
}
