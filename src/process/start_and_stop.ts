/**
 * The tasks of the process that the operator starts, besides answering requests: the start message, the probes, and the
 * stop.
 */
import { readFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import type { OpenDatabase } from '../db/open.ts';
import { ConnectionLimit } from '../http/connection_limit.ts';
import { CannotListen, HttpServer, MANAGEMENT_CONNECTIONS_AT_MOST } from '../http/server.ts';
import type { Logger } from '../log.ts';
import { onSignals } from './signals.ts';

export interface Management {
  readonly server: HttpServer;
  readonly port: number;
}

/**
 * Uses any free port if 9000 is in use in development, so that two servers may run side by side without a configured
 * port.
 */
export async function listenForManagement(
  listener: RequestListener,
  { managementHost, managementPort }: Config,
  log: Logger,
): Promise<Management> {
  const server = new HttpServer(listener, undefined, new ConnectionLimit(MANAGEMENT_CONNECTIONS_AT_MOST));
  try {
    return { server, port: await server.listen(managementHost, managementPort ?? 9000) };
  } catch (error) {
    if (managementPort !== undefined || !(error instanceof CannotListen)) throw error;
    log.warn('Port 9000 is in use; health and metrics use a free port. Set GATEHOUSE_MANAGEMENT_PORT to choose one.');
    return { server, port: await server.listen(managementHost, 0) };
  }
}

/** Read before the first response, because the process must handle signals as soon as it answers. */
export async function version(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export interface Started {
  readonly config: Config;
  readonly log: Logger;
  readonly print: (text: string) => void;
  readonly managementPort: number;
  readonly release: string;
  readonly welcome: string | undefined;
}

export function logStarted({ config, log, print, managementPort, release, welcome }: Started): void {
  log.info(
    {
      issuer: config.issuer,
      host: config.host,
      port: config.port,
      admin_port: config.adminPort,
      tls_port: config.tls?.port,
      management_port: managementPort,
      workers: config.workers,
      version: release,
    },
    'gatehouse.started',
  );
  log.flush();
  if (welcome !== undefined) print(welcome);
}

export interface Stopping {
  readonly opened: OpenDatabase;
  readonly log: Logger;
  /** Finishes running requests. */
  readonly finish: (reason: string) => Promise<void>;
  /** Ends processes that would outlive this one. */
  readonly kill?: () => void;
}

/**
 * Stops once: with exit code 0 at a signal, and 1 if the PostgreSQL that this process started has ended. A second
 * signal ends the process at once with code 1.
 */
export function stopOnSignal({ opened, log, finish, kill }: Stopping): void {
  let stopping = false;
  const stop = async (reason: string, exitCode: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'gatehouse.stopping');
    process.exitCode = exitCode;
    await finish(reason);
    await opened.close();
    log.info('gatehouse.stopped');
  };
  const failed = (error: unknown): void => {
    log.fatal({ error }, 'gatehouse.stop_failed');
    process.exit(1);
  };
  onSignals({
    stop: (signal) => void stop(signal, 0).catch(failed),
    endAtOnce(signal) {
      log.warn({ reason: signal }, 'gatehouse.stop_cut_short');
      kill?.();
      process.exit(1);
    },
  });
  void opened.lost.then(() => stop('PostgreSQL ended', 1)).catch(failed);
}
