/** A process that answers requests: an app behind its listeners. */
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
import { letHelpersGiveWay } from './helper_threads.ts';
import { connectionsAtMost } from './open_files.ts';

export interface ListenersSettings {
  readonly config: Config;
  readonly log: Logger;
  /** How many lines of it were dropped. */
  readonly linesDropped: () => number;
  readonly opened: OpenDatabase;
  /** Whether to make, or find, what development begins with. */
  readonly bootstrap: boolean;
  readonly siblings?: SiblingWorkers;
}

export interface Listeners {
  readonly app: App;
  /** What to print for whoever started a development server. */
  readonly welcome: string | undefined;
  /** From now on this process is not ready, and clients are to look elsewhere. */
  leave(): void;
  /** Answers what is under way, takes nothing new, writes what waits, and lets go of all but the database. */
  drain(graceMilliseconds: number): Promise<void>;
}

/** How often the files of TLS are looked at. */
const TLS_FILES_MILLISECONDS = 10_000;

/** Resolves when requests are answered; what was begun is undone where one thing can't be had. */
export async function startListening({
  config,
  log,
  linesDropped,
  opened,
  bootstrap,
  siblings,
}: ListenersSettings): Promise<Listeners> {
  const tlsFiles = await openTlsFiles(config);
  const fronts: HttpServer[] = [];
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
    await Promise.all(fronts.map((front) => front.drain(graceMilliseconds)));
    await app.stop();
  };
  try {
    const welcome = bootstrap ? greeting(config, await app.bootstrap()) : undefined;
    for (const [listener, port] of [[app.public, config.port] as const, [app.admin, config.adminPort] as const]) {
      if (!listener || port === undefined) continue;
      const front = new HttpServer(listener, undefined, limit);
      await front.listen(config.host, port);
      fronts.push(front);
      if (config.secondHost === undefined) continue;
      const second = new HttpServer(listener, undefined, limit);
      if (await listensWherePossible(second, config.secondHost, port)) fronts.push(second);
    }
    const tlsFront = config.tls && (await listenForTls(app, config.tls, tlsFiles, limit));
    if (tlsFront) fronts.push(tlsFront);
    if (config.tls ?? config.clientCaFile) keepTlsFiles(tlsFiles, tlsFront, log);
    letHelpersGiveWay();
    const leave = (): void => {
      app.beginDraining();
      for (const front of fronts) front.leave();
    };
    return { app, welcome, leave, drain };
  } catch (error) {
    await drain(0);
    throw error;
  }
}

/** `localhost` is two addresses on most systems, and one where IPv6 is switched off: answers whether there is this one. */
async function listensWherePossible(front: HttpServer, host: string, port: number): Promise<boolean> {
  try {
    await front.listen(host, port);
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

/** The same answers as on the ordinary port, and clients may bring a certificate. */
async function listenForTls(
  app: App,
  { host, port }: NonNullable<Config['tls']>,
  files: TlsFiles,
  limit: ConnectionLimit,
): Promise<HttpServer> {
  const front = new HttpServer(app.public, files.context(), limit);
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

function greeting(config: Config, bootstrap: Awaited<ReturnType<App['bootstrap']>>): string {
  const file = relative(process.cwd(), bootstrapFile(config));
  const lines = firstCommands(bootstrap, file).map(({ title, command }) => `# ${title}\n${command}\n`);
  return `\nGatehouse is at ${bootstrap.issuer}. Who may log in and which clients there are stands in ${file}.\nPaste these into another terminal, in this folder:\n\n${lines.join('\n')}\n`;
}
