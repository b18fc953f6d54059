/** What is fuzzed: a server in a process of its own, with a person who is logged in and routes read from its documents. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { METHODS } from '../../../src/oidc/request/routes.ts';
import type { Bootstrap } from '../../../src/bootstrap/development.ts';
import { startApplication } from '../client/application.ts';
import { requestToken, type Gatehouse } from '../node/gatehouse.ts';
import { Person } from '../person/person.ts';
import { freeAddresses, Processes, type Environment, type Running } from '../node/process.ts';

export interface Route {
  readonly method: string;
  /** With `{name}` where a parameter stands. */
  readonly path: string;
  /** The admin API's, which take JSON and a token. */
  readonly admin: boolean;
  /** A body that the route would take, where the document has an example. */
  readonly example: unknown;
}

export interface Target {
  readonly port: number;
  readonly routes: readonly Route[];
  readonly demo: Bootstrap['demo'];
  readonly redirectUri: string;
  /** A public client that people log in to. */
  readonly clientId: string;
  adminToken(): Promise<string>;
  /** The cookies of a person who is logged in and in the middle of another login, whose id is `interaction`. */
  person(): Promise<{ readonly cookies: string; readonly interaction: string }>;
  /** Throws when the process has died, or has said something that it should not have to say. */
  assertWell(): Promise<void>;
  stop(): Promise<void>;
}

/** What a run has at hand to get further than the front door. */
export interface Means {
  readonly target: Target;
  readonly adminToken: string;
  readonly cookies: string;
  readonly interaction: string;
}

export async function startTarget(environment: Environment = {}): Promise<Target> {
  const processes = new Processes();
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-fuzz-'));
  const addresses = await freeAddresses();
  const issuer = `http://127.0.0.1:${addresses.port}`;
  const running = await processes.start({ ISSUER: issuer, GATEHOUSE_DATA_DIR: dataDir, ...environment }, addresses);
  const bootstrap = JSON.parse(await readFile(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
  const adminToken = (): Promise<string> => requestToken(issuer, bootstrap.admin);
  const gatehouse = {
    ...bootstrap,
    adminCall: async (method: string, path: string, body: unknown) =>
      fetch(`${issuer}/admin/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${await adminToken()}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  } as Gatehouse;
  const application = await startApplication(gatehouse);
  return {
    port: addresses.port,
    routes: await readRoutes(issuer),
    demo: bootstrap.demo,
    redirectUri: application.redirectUri,
    clientId: application.clientId,
    adminToken,
    async person() {
      const person = new Person(gatehouse);
      await person.authorize(application.authorizationUrl());
      const { url } = await person.open(application.authorizationUrl({ prompt: 'login' }));
      const cookies = [...person.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
      return { cookies, interaction: new URL(url).pathname.split('/').at(-1)! };
    },
    assertWell: () => assertWell(running, running.managementUrl),
    async stop() {
      await application.stop();
      // in peace, for the database that it may have brought along
      running.signal('SIGTERM');
      await running.ended().catch(() => {});
      await processes.end();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Lines that say that something broke; what a caller did wrong is logged below that level. */
const TROUBLE = /"level":"(error|fatal)"|[Uu]nhandled|MaxListeners|FATAL/;

async function assertWell({ output, ended }: Running, managementUrl: string): Promise<void> {
  const { stdout, stderr } = output();
  const trouble = `${stdout}\n${stderr}`.split('\n').find((line) => TROUBLE.test(line));
  if (trouble !== undefined) throw new Error(`The server says: ${trouble}`);
  const alive = await fetch(`${managementUrl}/healthz`, { signal: AbortSignal.timeout(10_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
  if (!alive) throw new Error(`The server is gone: ${JSON.stringify(await ended())}`);
}

/** Paths that no document names. */
const PAGES = [
  'GET /approve/{id}',
  'POST /approve/{id}',
  'GET /',
  'GET /interaction/{uid}',
  'POST /interaction/{uid}/login',
  'POST /interaction/{uid}/second-step',
  'POST /interaction/{uid}/passkey',
  'POST /interaction/{uid}/consent',
  'POST /interaction/{uid}/cancel',
  'GET /authorize/{uid}',
  'GET /device/{uid}',
  'GET /account',
  'POST /account/devices/end',
  'GET /account/authenticator',
  'POST /account/authenticator',
  'POST /account/authenticator/remove',
  'GET /account/passkeys',
  'POST /account/passkeys',
  'POST /account/passkeys/rename',
  'POST /account/passkeys/remove',
  'GET /account/recovery-codes',
  'POST /account/recovery-codes',
  'GET /account/remembered-devices',
  'POST /account/remembered-devices/forget',
  'POST /account/applications/take-back',
  'GET /account/password',
  'POST /account/password',
  'GET /account/email',
  'POST /account/email',
  'GET /forgot-password',
  'POST /forgot-password',
  'GET /link',
  'POST /link',
  'GET /link/{value}',
  'POST /link/{value}',
  'GET /mails',
  'POST /logout/confirm',
  'GET /logout/success',
  'GET /assets/{file}',
  'GET /{anything}',
];

async function readRoutes(issuer: string): Promise<Route[]> {
  const discovery = (await (await fetch(`${issuer}/.well-known/openid-configuration`)).json()) as Record<
    string,
    unknown
  >;
  const endpoints = Object.entries(discovery).flatMap(([name, url]) =>
    /_(endpoint|uri)$/.test(name) ? [new URL(String(url)).pathname] : [],
  );
  const protocol = [
    ...Object.entries(METHODS).flatMap(([path, methods]) => methods.map((method) => `${method} ${path}`)),
    ...endpoints.flatMap((path) => [`GET ${path}`, `POST ${path}`]),
    ...PAGES,
  ].map((line) => {
    const [method = '', path = ''] = line.split(' ');
    return { method, path, admin: false, example: undefined };
  });
  return [...protocol, ...(await readAdminRoutes(issuer))];
}

interface Document {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<Record<string, { requestBody?: { content: Record<string, { schema: { $ref?: string } }> } }>>
    >
  >;
  readonly components: { readonly schemas: Readonly<Record<string, { examples?: unknown[] }>> };
}

async function readAdminRoutes(issuer: string): Promise<Route[]> {
  const { paths, components } = (await (await fetch(`${issuer}/admin/v1/openapi.json`)).json()) as Document;
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { requestBody }]) => {
      const schema =
        Object.values(requestBody?.content ?? {})[0]
          ?.schema.$ref?.split('/')
          .at(-1) ?? '';
      const example = components.schemas[schema]?.examples?.[0];
      return { method: method.toUpperCase(), path: `/admin/v1${path}`, admin: true, example };
    }),
  );
}
