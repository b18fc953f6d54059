/** A node of one process: it opens the database, answers, and drains by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Interruption } from '../base/interruption.ts';
import type { Config } from '../config.ts';
import { openDatabase } from '../db/open.ts';
import { createNodeLog } from '../log.ts';
import type { Listeners } from './listeners.ts';
import { noteServiceLinks } from './service_link_notice.ts';
import { listenForManagement, sayStarted, stopOnSignal, version, type Management } from './lifecycle.ts';

export async function serveInOneProcess(config: Config, interruption: Interruption): Promise<void> {
  const { log, linesDropped, print } = createNodeLog(config);
  noteServiceLinks(config, log);
  const release = await version();
  // most of a start is loading code: the database gets ready meanwhile
  const [opened, { startListening: startAnswering }] = await Promise.all([
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
  let answering: Listeners | undefined;
  let management: Management;
  try {
    answering = await startAnswering({ config, log, linesDropped, opened, bootstrap: !config.production });
    management = await listenForManagement(answering.app.management, config, log);
  } catch (error) {
    await answering?.drain(0);
    await opened.close();
    throw error;
  }
  const { welcome, leave, drain } = answering;
  if (interruption.interrupted) return;
  sayStarted({ config, log, print, managementPort: management.port, release, welcome });
  interruption.end();
  const letGo = async (): Promise<void> => {
    leave();
    await delay(config.shutdownDelaySeconds * 1000);
    await drain(config.shutdownGraceSeconds * 1000);
    await management.server.drain(1000);
  };
  stopOnSignal({ opened, log, letGo });
}
