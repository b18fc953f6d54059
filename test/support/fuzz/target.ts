/** What is fuzzed: a server in a process of its own, with a person who is logged in and routes read from its documents. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { METHODS } from '../../../src/oidc/request/routes.ts';
import type { Bootstrap } from '../../../src/bootstrap/development.ts';
import { Admin } from '../client/admin.ts';
import { startApplication } from '../client/application.ts';
import { makeRole, addTo } from '../client/roles.ts';
import { requestToken, type Gatehouse } from '../node/gatehouse.ts';
import { PAGE_ROUTES } from './page_routes.ts';
import { demoBrowser, linkBrowser, ownerBrowser, type Browser } from './people.ts';
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
  readonly issuer: string;
  /** The issuer's host with its port: a development server redirects requests for another one. */
  readonly host: string;
  readonly port: number;
  readonly routes: readonly Route[];
  readonly demo: Bootstrap['demo'];
  readonly redirectUri: string;
  /** A public client that people log in to. */
  readonly clientId: string;
  /** Everything that requests of the next while need, made anew. */
  means(): Promise<AllMeans>;
  /** What no request of a run may change: the account of the demo person, its factors, and that it can log in. */
  demoState(): Promise<unknown>;
  /** Throws when the process has died, or has said something that it should not have to say. */
  assertWell(): Promise<void>;
  stop(): Promise<void>;
}

/** What a run has at hand to get further than the front door. */
export interface AllMeans {
  readonly target: Target;
  readonly adminToken: string;
  readonly browsers: readonly Browser[];
  /** Values for the parameters of the admin API's paths, of objects that may be changed and deleted. */
  readonly ids: Readonly<Record<string, string>>;
}

/** The same for one request, which comes from one browser. */
export interface Means extends AllMeans, Browser {}

export async function startTarget(environment: Environment = {}): Promise<Target> {
  const processes = new Processes();
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-fuzz-'));
  const addresses = await freeAddresses();
  // a name, because passkeys need one
  const issuer = `http://localhost:${addresses.port}`;
  const running = await processes.start({ ISSUER: issuer, GATEHOUSE_DATA_DIR: dataDir, ...environment }, addresses);
  const bootstrap = JSON.parse(await readFile(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
  const adminToken = (): Promise<string> => requestToken(issuer, bootstrap.admin);
  const gatehouse = {
    ...bootstrap,
    issuer,
    url: issuer,
    adminUrl: issuer,
    adminCall: async (method: string, path: string, body: unknown) =>
      fetch(`${issuer}/admin/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${await adminToken()}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    adminToken,
  } as unknown as Gatehouse;
  const application = await startApplication(gatehouse);
  const target: Target = {
    issuer,
    host: new URL(issuer).host,
    port: addresses.port,
    routes: await readRoutes(issuer),
    demo: bootstrap.demo,
    redirectUri: application.redirectUri,
    clientId: application.clientId,
    async means() {
      const admin = await Admin.of(gatehouse);
      const owner = await ownerBrowser(gatehouse, application);
      const { email, accountId } = owner.account;
      const browsers = [
        await demoBrowser(gatehouse, application),
        await linkBrowser(gatehouse, application, owner.account),
        owner,
        // most of the pages are those of this browser
        owner,
      ];
      return { target, adminToken: admin.token, browsers, ids: await makeObjects(admin, accountId, email) };
    },
    async demoState() {
      const admin = await Admin.of(gatehouse);
      const { email } = bootstrap.account;
      const [account] = (await admin.get(`/accounts?q=${encodeURIComponent(email)}`)).body.items;
      const { body } = await admin.get(`/accounts/${account!.account_id}/factors`);
      await demoBrowser(gatehouse, application);
      return { account, factors: body };
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
  return target;
}

/** Objects of the admin API that a request may change or delete. */
async function makeObjects(admin: Admin, accountId: string, email: string): Promise<Record<string, string>> {
  const identifier = `https://${accountId.replaceAll('_', '-').toLowerCase()}.example`;
  await admin.post('/resources', { identifier, scopes: [{ name: 'use', description: 'Use it' }] });
  const { role, groupId } = await makeRole(admin, identifier, 'use');
  await addTo(admin, { groupId }, accountId);
  const { client_id } = (
    await admin.post('/clients', { client_name: 'For changes', grant_types: ['client_credentials'] })
  ).body;
  return { identifier, account_id: accountId, group_id: groupId, name: role, client_id, factor_id: 'totp', q: email };
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
    ...PAGE_ROUTES,
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
