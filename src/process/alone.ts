/** A node of one process: it opens the database, answers, and drains by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { openDatabase } from '../db/open.ts';
import { createNodeLog } from '../log.ts';
import type { Answering } from './answering.ts';
import { listenForManagement, sayStarted, stopOnSignal, version, type Management } from './standing_by.ts';

export async function serveAlone(config: Config): Promise<void> {
  const log = createNodeLog(config);
  const release = await version();
  // most of a start is loading code: the database gets ready meanwhile
  const [opened, { startAnswering }] = await Promise.all([
    openDatabase({
      databaseUrl: config.databaseUrl,
      dataDir: config.dataDir,
      maxConnections: config.databaseMaxConnections,
      patienceMilliseconds: config.databasePatienceMilliseconds,
      onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
    }),
    import('./answering.ts'),
  ]);
  let answering: Answering | undefined;
  let management: Management;
  try {
    answering = await startAnswering({ config, log, opened, bootstrap: !config.production });
    management = await listenForManagement(answering.app.management, config, log);
  } catch (error) {
    await answering?.drain(0);
    await opened.close();
    throw error;
  }
  const { welcome, leave, drain } = answering;
  sayStarted({ config, log, managementPort: management.port, release, welcome });
  stopOnSignal(opened, log, async () => {
    leave();
    await delay(config.shutdownDelaySeconds * 1000);
    await drain(config.shutdownGraceSeconds * 1000);
    await management.server.drain(1000);
  });
}
