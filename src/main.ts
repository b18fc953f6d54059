/** The process: environment → configuration → database → app → listen → drain. */
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createApp, type App } from './app/app.ts';
import { CannotStart } from './base/cannot_start.ts';
import { systemClock } from './base/clock.ts';
import { firstCommands } from './bootstrap/first_commands.ts';
import { bootstrapFile, masterKeyFile, readConfig, type Config } from './config.ts';
import { openDatabase, type OpenDatabase } from './db/open.ts';
import { CannotListen, HttpServer } from './http/server.ts';
import { TlsFiles } from './http/tls_files.ts';
import { createLog, type Logger } from './log.ts';
import { MasterKey } from './vault/master_key.ts';
import { masterKeyFromFile } from './vault/master_key_file.ts';

/** What runs, in the order in which it was started. */
interface Running {
  readonly opened: OpenDatabase;
  readonly app: App;
  /** Those that answer requests: the public's, and the admin API's where that has its own. */
  readonly fronts: readonly HttpServer[];
  readonly management: HttpServer;
}

/** How often the files of TLS are looked at. */
const TLS_FILES_MILLISECONDS = 10_000;

try {
  const config = readConfig();
  const log = createLog(config.logLevel);
  const running = await start(config, log);
  stopOnSignal(running, config, log);
} catch (error) {
  report(error);
  // what was begun and is not needed now must not keep a process that can't serve
  process.exit(1);
}

async function start(config: Config, log: Logger): Promise<Running> {
  const tlsFiles = await openTlsFiles(config);
  const opened = await openDatabase({
    databaseUrl: config.databaseUrl,
    dataDir: config.dataDir,
    maxConnections: config.databaseMaxConnections,
    patienceMilliseconds: config.databasePatienceMilliseconds,
    onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
  });
  let app: App | undefined;
  const fronts: HttpServer[] = [];
  try {
    const masterKeys = await loadMasterKeys(config);
    app = await createApp({
      config,
      masterKeys,
      log,
      clock: systemClock,
      clientAuthorities: tlsFiles.authorities,
      ...opened,
      databaseUrl: opened.connectionString,
    });
    const bootstrap = config.production ? undefined : await app.bootstrap();
    const management = new HttpServer(app.management);
    const release = await version();
    // nothing is waited for between the first answer and the handling of signals
    for (const [listener, port] of [[app.public, config.port] as const, [app.admin, config.adminPort] as const]) {
      if (!listener || port === undefined) continue;
      const front = new HttpServer(listener);
      await front.listen(config.host, port);
      fronts.push(front);
    }
    const tlsFront = config.tls && (await listenForTls(app, config.tls, tlsFiles));
    if (tlsFront) fronts.push(tlsFront);
    if (config.tls ?? config.clientCaFile) keepTlsFiles(tlsFiles, tlsFront, log);
    const managementPort = await listenForManagement(management, config, log);
    log.info(
      {
        issuer: config.issuer,
        host: config.host,
        port: config.port,
        admin_port: config.adminPort,
        tls_port: config.tls?.port,
        management_port: managementPort,
        version: release,
      },
      'gatehouse.started',
    );
    log.flush();
    if (bootstrap) welcome(config, bootstrap);
    return { opened, app, fronts, management };
  } catch (error) {
    await Promise.all(fronts.map((front) => front.drain(0)));
    await app?.stop();
    await opened.close();
    throw error;
  }
}

function openTlsFiles({ tls, clientCaFile }: Config): Promise<TlsFiles> {
  const identity = tls && { certificate: tls.certificateFile, key: tls.keyFile };
  return TlsFiles.open({ identity, clientCa: clientCaFile });
}

async function loadMasterKeys(config: Config): Promise<[MasterKey, ...MasterKey[]]> {
  const [first, ...rest] = config.masterKeys.map((bytes) => new MasterKey(bytes));
  return first ? [first, ...rest] : [await masterKeyFromFile(masterKeyFile(config))];
}

/** The same answers as on the ordinary port, and clients may bring a certificate. */
async function listenForTls(
  app: App,
  { host, port }: NonNullable<Config['tls']>,
  files: TlsFiles,
): Promise<HttpServer> {
  const front = new HttpServer(app.public, files.context());
  await front.listen(host, port);
  return front;
}

/** Certificates are renewed while the server runs; what is wrong with new ones leaves those before in force. */
function keepTlsFiles(files: TlsFiles, front: HttpServer | undefined, log: Logger): void {
  const renew = async (): Promise<void> => {
    if (!(await files.renew())) return;
    const context = files.context();
    if (context) front?.renew(context);
    log.info('tls_files.renewed');
  };
  const look = (): void => void renew().catch((error: unknown) => log.error({ error }, 'tls_files.refused'));
  setInterval(look, TLS_FILES_MILLISECONDS).unref();
}

/** In development two servers may run side by side without anyone having chosen a port for each. */
async function listenForManagement(server: HttpServer, config: Config, log: Logger): Promise<number> {
  try {
    return await server.listen(config.managementHost, config.managementPort ?? 9000);
  } catch (error) {
    if (config.managementPort !== undefined || !(error instanceof CannotListen)) throw error;
    log.warn('Port 9000 is taken; health and metrics are on a free port. Set GATEHOUSE_MANAGEMENT_PORT to choose one.');
    return server.listen(config.managementHost, 0);
  }
}

/** npm passes a signal on that the terminal has sent us already, so all but the first are the same wish. */
function stopOnSignal({ opened, app, fronts, management }: Running, config: Config, log: Logger): void {
  let stopping = false;
  const stop = async (reason: string, exitCode: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'gatehouse.stopping');
    process.exitCode = exitCode;
    app.beginDraining();
    for (const front of fronts) front.leave();
    await delay(config.shutdownDelaySeconds * 1000);
    await Promise.all(fronts.map((front) => front.drain(config.shutdownGraceSeconds * 1000)));
    await app.stop();
    await management.drain(1000);
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
  const file = relative(process.cwd(), bootstrapFile(config));
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
