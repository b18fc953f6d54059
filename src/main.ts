/** The process: environment → configuration → database → app → listen → drain. */
import type { Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createApp, type App } from './app.ts';
import { CannotStart } from './base/cannot_start.ts';
import { systemClock } from './base/clock.ts';
import { firstCommands } from './bootstrap/first_commands.ts';
import { bootstrapFile, masterKeyFile, readConfig, type Config } from './config.ts';
import { openDatabase, type OpenDatabase } from './db/open.ts';
import { CannotListen, createHttpServer, drain, listen } from './http/server.ts';
import { createLog, type Logger } from './log.ts';
import { MasterKey } from './vault/master_key.ts';
import { masterKeyFromFile } from './vault/master_key_file.ts';

/** What runs, in the order in which it was started. */
interface Running {
  readonly opened: OpenDatabase;
  readonly app: App;
  readonly servers: readonly Server[];
}

try {
  const config = readConfig();
  const log = createLog(config.logLevel);
  const running = await start(config, log);
  stopOnSignal(running, config, log);
} catch (error) {
  report(error);
  process.exitCode = 1;
}

async function start(config: Config, log: Logger): Promise<Running> {
  const opened = await openDatabase({
    databaseUrl: config.databaseUrl,
    dataDir: config.dataDir,
    maxConnections: config.databaseMaxConnections,
    onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
  });
  let app: App | undefined;
  const servers: Server[] = [];
  try {
    const masterKeys = await loadMasterKeys(config);
    app = await createApp({ config, masterKeys, log, clock: systemClock, ...opened });
    const bootstrap = config.production ? undefined : await app.bootstrap();
    servers.push(createHttpServer(app.public), createHttpServer(app.management));
    await listen(servers[0]!, config.host, config.port);
    const managementPort = await listenForManagement(servers[1]!, config, log);
    log.info(
      {
        issuer: config.issuer,
        host: config.host,
        port: config.port,
        management_port: managementPort,
        version: await version(),
      },
      'gatehouse.started',
    );
    if (bootstrap) welcome(config, bootstrap);
    return { opened, app, servers };
  } catch (error) {
    for (const server of servers) server.close();
    await app?.stop();
    await opened.close();
    throw error;
  }
}

async function loadMasterKeys(config: Config): Promise<[MasterKey, ...MasterKey[]]> {
  const [first, ...rest] = config.masterKeys.map((bytes) => new MasterKey(bytes));
  return first ? [first, ...rest] : [await masterKeyFromFile(masterKeyFile(config))];
}

/** In development two servers may run side by side without anyone having chosen a port for each. */
async function listenForManagement(server: Server, config: Config, log: Logger): Promise<number> {
  try {
    await listen(server, config.managementHost, config.managementPort ?? 9000);
  } catch (error) {
    if (config.managementPort !== undefined || !(error instanceof CannotListen)) throw error;
    await listen(server, config.managementHost, 0);
    log.warn('Port 9000 is taken; health and metrics are on a free port. Set GATEHOUSE_MANAGEMENT_PORT to choose one.');
  }
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

/** npm passes a signal on that the terminal has sent us already, so all but the first are the same wish. */
function stopOnSignal({ opened, app, servers }: Running, config: Config, log: Logger): void {
  let stopping = false;
  const stop = async (reason: string, exitCode: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'gatehouse.stopping');
    process.exitCode = exitCode;
    app.beginDraining();
    await drain(servers[0]!, config.shutdownGraceSeconds * 1000);
    await app.stop();
    await drain(servers[1]!, 1000);
    await opened.close();
    log.info('gatehouse.stopped');
  };
  const failed = (error: unknown): void => {
    log.fatal({ error }, 'gatehouse.stop_failed');
    process.exit(1);
  };
  process.on('SIGTERM', () => void stop('SIGTERM', 0).catch(failed));
  process.on('SIGINT', () => void stop('SIGINT', 0).catch(failed));
  process.on('SIGHUP', () => void stop('SIGHUP', 0).catch(failed));
  void opened.lost.then(() => stop('PostgreSQL ended', 1)).catch(failed);
}

function welcome(config: Config, bootstrap: Awaited<ReturnType<App['bootstrap']>>): void {
  const file = bootstrapFile(config);
  const lines = firstCommands(bootstrap, file).map(({ title, command }) => `# ${title}\n${command}\n`);
  process.stdout.write(
    `\nGatehouse is at ${bootstrap.issuer}. Who may log in and which clients there are stands in ${file}.\nPaste these into another terminal, in this folder:\n\n${lines.join('\n')}\n`,
  );
}

async function version(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** One clear sentence for what the operator can mend; a stack only for what is our bug. */
function report(error: unknown): void {
  if (error instanceof CannotStart) process.stderr.write(`Gatehouse can't start. ${error.message}\n`);
  else console.error("Gatehouse can't start; this is a bug:", error);
}
