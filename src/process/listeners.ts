/** Starts an app with its listeners. */
import { relative } from 'node:path';
import { createApp, type App, type SiblingWorkers } from '../app/app.ts';
import { systemClock } from '../base/clock.ts';
import { firstCommands } from '../bootstrap/first_commands.ts';
import { bootstrapFile, masterKeyFile, type Config } from '../config.ts';
import type { OpenDatabase } from '../db/open.ts';
import { ConnectionLimit } from '../http/connection_limit.ts';
import { HttpServer, type CannotListen } from '../http/server.ts';
import { TlsFiles } from '../http/tls_files.ts';
import type { Logger } from '../log.ts';
import { MasterKey } from '../vault/master_key.ts';
import { masterKeyFromFile } from '../vault/master_key_file.ts';
import { lowerHelperPriority } from './helper_threads.ts';
import { connectionsAtMost } from './open_files.ts';

export interface ListenersSettings {
  readonly config: Config;
  readonly log: Logger;
  /** The number of dropped log lines. */
  readonly linesDropped: () => number;
  readonly opened: OpenDatabase;
  /** Whether to make, or find, the demo data of development. */
  readonly bootstrap: boolean;
  readonly siblings?: SiblingWorkers;
}

export interface Listeners {
  readonly app: App;
  /** The text to print when a development server has started. */
  readonly welcome: string | undefined;
  /** Marks this process as not ready, so that load balancers use others. */
  beginDraining(): void;
  /** Finishes running requests, accepts no new ones, writes what is buffered, and closes all but the database. */
  drain(graceMilliseconds: number): Promise<void>;
}

/** How often the TLS files are checked for changes. */
const TLS_FILES_MILLISECONDS = 10_000;

/** Resolves when requests are answered. After an error, it undoes its work and rejects. */
export async function startListening({
  config,
  log,
  linesDropped,
  opened,
  bootstrap,
  siblings,
}: ListenersSettings): Promise<Listeners> {
  const tlsFiles = await openTlsFiles(config);
  const servers: HttpServer[] = [];
  const atMost = connectionsAtMost(config, log);
  const limit = new ConnectionLimit(atMost, () => log.warn({ connections_at_most: atMost }, 'connections.full'));
  const app = await createApp({
    config,
    masterKeys: await loadMasterKeys(config),
    log,
    linesDropped,
    clock: systemClock,
    clientAuthorities: tlsFiles.authorities,
    siblings,
    ...opened,
    databaseUrl: opened.connectionString,
  });
  const drain = async (graceMilliseconds: number): Promise<void> => {
    await Promise.all(servers.map((server) => server.drain(graceMilliseconds)));
    await app.stop();
  };
  try {
    const welcome = bootstrap ? greeting(config, await app.bootstrap()) : undefined;
    for (const [listener, port] of [[app.public, config.port] as const, [app.admin, config.adminPort] as const]) {
      if (!listener || port === undefined) continue;
      const server = new HttpServer(listener, undefined, limit);
      await server.listen(config.host, port);
      servers.push(server);
      if (config.secondHost === undefined) continue;
      const second = new HttpServer(listener, undefined, limit);
      if (await listenIfAddressExists(second, config.secondHost, port)) servers.push(second);
    }
    const tlsServer = config.tls && (await listenForTls(app, config.tls, tlsFiles, limit));
    if (tlsServer) servers.push(tlsServer);
    if (config.tls ?? config.clientCaFile) renewTlsFiles(tlsFiles, tlsServer, log);
    lowerHelperPriority();
    const beginDraining = (): void => {
      app.beginDraining();
      for (const server of servers) server.leave();
    };
    return { app, welcome, beginDraining, drain };
  } catch (error) {
    await drain(0);
    throw error;
  }
}

/** `localhost` has two addresses on most systems, and one if IPv6 is switched off. Returns whether this one exists. */
async function listenIfAddressExists(server: HttpServer, host: string, port: number): Promise<boolean> {
  try {
    await server.listen(host, port);
    return true;
  } catch (error) {
    const { code } = (error as CannotListen).cause as NodeJS.ErrnoException;
    if (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT') return false;
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

/** Serves the same app as the ordinary port, and accepts client certificates. */
async function listenForTls(
  app: App,
  { host, port }: NonNullable<Config['tls']>,
  files: TlsFiles,
  limit: ConnectionLimit,
): Promise<HttpServer> {
  const server = new HttpServer(app.public, files.context(), limit);
  await server.listen(host, port);
  return server;
}

/**
 * Reloads certificates that are renewed while the server runs. If the new ones are invalid, the old ones stay in use.
 */
function renewTlsFiles(files: TlsFiles, server: HttpServer | undefined, log: Logger): void {
  const renew = async (): Promise<void> => {
    if (!(await files.renew())) return;
    const context = files.context();
    if (context) server?.renew(context);
    log.info('tls_files.renewed');
  };
  const check = (): void => void renew().catch((error: unknown) => log.error({ error }, 'tls_files.refused'));
  setInterval(check, TLS_FILES_MILLISECONDS).unref();
}

function greeting(config: Config, bootstrap: Awaited<ReturnType<App['bootstrap']>>): string {
  const file = relative(process.cwd(), bootstrapFile(config));
  const lines = firstCommands(bootstrap, file).map(({ title, command }) => `# ${title}\n${command}\n`);
  return `\nGatehouse is at ${bootstrap.issuer}. ${file} lists the demo accounts and clients.\nPaste these into another terminal, in this folder:\n\n${lines.join('\n')}\n`;
}
