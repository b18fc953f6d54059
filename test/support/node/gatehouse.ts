/** A Gatehouse in this process, on a database of its own: the real thing but for the port, which is free. */
import type { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import type { SecureContextOptions } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp, type App } from '../../../src/app/app.ts';
import { systemClock, type Clock } from '../../../src/base/clock.ts';
import type { Bootstrap } from '../../../src/bootstrap/development.ts';
import { readConfig } from '../../../src/config.ts';
import type { Resolve } from '../../../src/egress/addresses.ts';
import { createDatabase, createPool, type Database } from '../../../src/db/connection.ts';
import { HttpServer } from '../../../src/http/server.ts';
import { createLog } from '../../../src/log.ts';
import { MasterKey } from '../../../src/vault/master_key.ts';
import { cloneDatabase } from './database.ts';
import { demandCataloguedEvents } from './recorded_events.ts';

export interface GatehouseOptions {
  /** Variables of the environment, as in production. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Another node of the one given: same database, same issuer, a port of its own. */
  readonly beside?: Gatehouse;
  /** A migrated database of the caller's, instead of a clone; the caller drops it. */
  readonly databaseUrl?: string;
  /** The issuer's path. */
  readonly path?: string;
  /** The issuer's host, in place of 127.0.0.1: `localhost`, where passkeys work. */
  readonly host?: string;
  readonly clock?: Clock;
  /** As behind a pooler or on a database that has no NOTIFY: the node learns of changes by its poll alone. */
  readonly withoutNotify?: boolean;
  /** Answers for DNS. */
  readonly resolve?: Resolve;
  /** With GATEHOUSE_TLS_PORT: what its listener is given. With the authorities alone: as behind a proxy. */
  readonly tls?: { readonly context?: SecureContextOptions; readonly authorities: readonly X509Certificate[] };
  /** An authority for what the node fetches. */
  readonly ca?: string;
}

export interface Gatehouse extends Bootstrap {
  /** Where this node listens; the issuer, but for a second node. */
  readonly url: string;
  readonly managementUrl: string;
  /** Where this node answers admins: `url`, unless GATEHOUSE_ADMIN_PORT is set (a free port is used in its place). */
  readonly adminUrl: string;
  readonly databaseUrl: string;
  readonly database: Database;
  /** What the node has logged so far, as JSON lines. */
  readonly log: readonly string[];
  /** An access token for the admin API, with all its scopes unless told otherwise. */
  adminToken(scope?: string): Promise<string>;
  /** Calls the admin API with a token of all scopes. */
  adminCall(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Response>;
  stop(): Promise<void>;
}

/** One in this process, which its tests can hurry. */
export interface OwnGatehouse extends Gatehouse {
  /** What the node does by itself now and then, at once; all of it, or the job of this name. */
  runJobs(name?: string): Promise<void>;
}

export const TEST_MASTER_KEY = 'dGVzdCBtYXN0ZXIga2V5IG9mIDMyIGJ5dGVzISEhISE=';

export async function startGatehouse({
  environment = {},
  beside,
  databaseUrl: given,
  path = '',
  host = '127.0.0.1',
  clock = systemClock,
  withoutNotify = false,
  resolve,
  tls,
  ca,
}: GatehouseOptions = {}): Promise<OwnGatehouse> {
  const theirs = given ?? beside?.databaseUrl;
  const clone = theirs === undefined ? await cloneDatabase() : undefined;
  const databaseUrl = theirs ?? clone!.url;
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-'));
  const [server, managementServer, adminServer] = await Promise.all([listening(), listening(), listening()]);
  const url = `${urlOf(server).replace('127.0.0.1', host)}${path}`;
  const issuer = beside?.issuer ?? url;
  const config = readConfig({
    NODE_ENV: 'test',
    ISSUER: issuer,
    DATABASE_URL: databaseUrl,
    GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    GATEHOUSE_DATA_DIR: dataDir,
    LOG_LEVEL: 'debug',
    // tests come from one address, in the time of many
    GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
    GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
    GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000',
    GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
    GATEHOUSE_ANSWER_MILLISECONDS: '20000',
    // keys that are made three times as fast
    GATEHOUSE_RSA_BITS: '2048',
    GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '5000',
    // tests move the clock of this process, and not that of the database
    GATEHOUSE_CLOCK_DIFFERENCE_SECONDS: '0',
    ...environment,
  });
  const log: string[] = [];
  const pool = createPool({ connectionString: databaseUrl, maxConnections: 10, onIdleError: () => {} });
  const database = createDatabase(pool);
  const [first, ...rest] = config.masterKeys.map((bytes) => new MasterKey(bytes));
  const app = await createApp({
    config,
    pool,
    database,
    databaseUrl,
    connectionString: withoutNotify ? undefined : databaseUrl,
    masterKeys: [first!, ...rest],
    log: createLog(config.logLevel, { write: (line) => void log.push(line) }),
    clock,
    clientAuthorities: () => tls?.authorities ?? [],
    ...(resolve && { resolve }),
    ...(ca !== undefined && { ca }),
  });
  const bootstrap = beside ?? (await app.bootstrap());
  server.on('request', app.public);
  managementServer.on('request', app.management);
  if (app.admin) adminServer.on('request', app.admin);
  const tlsServer = config.tls && new HttpServer(app.public, tls?.context);
  await tlsServer?.listen('127.0.0.1', config.tls!.port);

  const gatehouse: OwnGatehouse = {
    issuer,
    admin: bootstrap.admin,
    demo: bootstrap.demo,
    account: bootstrap.account,
    throwaway: bootstrap.throwaway,
    url,
    managementUrl: urlOf(managementServer),
    adminUrl: app.admin ? urlOf(adminServer) : urlOf(server),
    databaseUrl,
    database,
    log,
    adminToken: (scope) => requestToken(url, bootstrap.admin, scope),
    async adminCall(method, adminPath, body, headers = {}) {
      const contentType = body === undefined ? {} : { 'content-type': 'application/json' };
      return fetch(`${gatehouse.adminUrl}${path}/admin/v1${adminPath}`, {
        method,
        headers: { authorization: `Bearer ${await gatehouse.adminToken()}`, ...contentType, ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    },
    async runJobs(name) {
      for (const job of app.jobs)
        if (name === undefined || job.name === name) await job.run(new AbortController().signal);
    },
    async stop() {
      await tlsServer?.drain(0);
      await stop([server, managementServer, adminServer], app, pool, dataDir, clone);
      demandCataloguedEvents(log);
    },
  };
  return gatehouse;
}

/** A token by client credentials; throws with the server's answer when there is none. */
export async function requestToken(
  url: string,
  client: { readonly client_id: string; readonly client_secret: string },
  scope?: string,
): Promise<string> {
  const response = await postForm(
    `${url}/token`,
    { grant_type: 'client_credentials', ...(scope !== undefined && { scope }) },
    client,
  );
  const body = (await response.json()) as { access_token?: string };
  if (!body.access_token) throw new Error(`No token: ${response.status} ${JSON.stringify(body)}`);
  return body.access_token;
}

/** Posts a form, with HTTP Basic authentication where a client is given. */
export function postForm(
  url: string,
  form: Readonly<Record<string, string>>,
  client?: { readonly client_id: string; readonly client_secret: string },
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const basic =
    client &&
    `Basic ${Buffer.from(`${encodeURIComponent(client.client_id)}:${encodeURIComponent(client.client_secret)}`).toString('base64')}`;
  return fetch(url, {
    method: 'POST',
    headers: { ...(basic && { authorization: basic }), ...headers },
    body: new URLSearchParams(form),
    redirect: 'manual',
  });
}

async function listening(): Promise<Server> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function stop(
  servers: readonly Server[],
  app: App,
  pool: { end(): Promise<void> },
  dataDir: string,
  clone: { drop(): Promise<void> } | undefined,
): Promise<void> {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  await app.stop();
  await pool.end();
  await rm(dataDir, { recursive: true, force: true });
  await clone?.drop();
}
