/** Two Gatehouse processes on one database, as behind a load balancer: each must learn of the other's changes. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bootstrap } from '../../../src/bootstrap/development.ts';
import { createDatabase } from '../../../src/db/connection.ts';
import { cloneDatabase, patientPool } from './database.ts';
import { requestToken, TEST_MASTER_KEY, type Gatehouse } from './gatehouse.ts';
import {
  freeAddresses,
  MAIN,
  NODE,
  Processes,
  type Addresses,
  type Ending,
  type Environment,
  type Server,
} from './process.ts';

export interface Pair {
  /** The first one's address is the issuer of both. */
  readonly a: Gatehouse;
  readonly b: Gatehouse;
  /** Kills a node's process where it stands. */
  kill(node: Gatehouse): void;
  signal(node: Gatehouse, signal: NodeJS.Signals): void;
  /** How its process ended. */
  ended(node: Gatehouse): Promise<Ending>;
  /** Another process in its place, when it is ready; `main` is that of another version. */
  startAgain(node: Gatehouse, main?: string): Promise<void>;
  /** One more node. */
  startAnother(): Promise<Server>;
  stop(): Promise<void>;
}

/** `databaseUrl`: a migrated database of the caller's, in the place of a clone. */
export async function startPair(
  environment: Environment = {},
  ofEach: readonly Environment[] = [],
  databaseUrl?: string,
): Promise<Pair> {
  const processes = new Processes();
  const clone =
    databaseUrl === undefined
      ? await cloneDatabase()
      : { url: databaseUrl, drop: (): Promise<void> => Promise.resolve() };
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-pair-'));
  const pool = patientPool(clone.url, 5);
  const stop = async (): Promise<void> => {
    await processes.end();
    await pool.end();
    await clone.drop();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const addresses = await freeAddresses();
    const issuer = `http://127.0.0.1:${addresses.port}`;
    const common = {
      ISSUER: issuer,
      DATABASE_URL: clone.url,
      GATEHOUSE_DATA_DIR: dataDir,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      // crowds that race fail by the dozen
      GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000',
      ...environment,
    };
    const start = (index: number, at?: Addresses, main = MAIN): Promise<Server> =>
      processes.ready(
        [NODE, main],
        // of another version nothing is kept: it is gone after the test
        { ...common, ...ofEach[index], ...(main !== MAIN && { NODE_COMPILE_CACHE: '' }) },
        at,
      );
    const running = [await start(0, addresses), await start(1)];
    const bootstrap = JSON.parse(await readFile(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
    const database = createDatabase(pool);
    const node = ({ url, managementUrl }: Server, index: number): Gatehouse =>
      asGatehouse({
        ...bootstrap,
        url,
        managementUrl,
        databaseUrl: clone.url,
        database,
        output: () => running[index]!.output().stdout,
        stop,
      });
    const [a, b] = running.map(node) as [Gatehouse, Gatehouse];
    const indexOf = (one: Gatehouse): number => (one === a ? 0 : 1);
    const processOf = (one: Gatehouse): Server => running[indexOf(one)]!;
    return {
      a,
      b,
      kill: (one) => processOf(one).signal('SIGKILL'),
      signal: (one, signal) => processOf(one).signal(signal),
      ended: (one) => processOf(one).ended(),
      startAnother: () => start(2),
      async startAgain(one, main) {
        const [port, managementPort] = [one.url, one.managementUrl].map((url) => Number(new URL(url).port));
        running[indexOf(one)] = await start(indexOf(one), { port: port!, managementPort: managementPort! }, main);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** One node in a process of its own, on a database of the caller's, which tests reach by another way than the node. */
export async function startNode(
  { databaseUrl, directUrl }: { readonly databaseUrl: string; readonly directUrl: string },
  environment: Environment = {},
): Promise<Gatehouse> {
  const processes = new Processes();
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-node-'));
  const pool = patientPool(directUrl, 5);
  const stop = async (): Promise<void> => {
    await processes.end();
    await pool.end();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const addresses = await freeAddresses();
    const server = await processes.start(
      {
        ISSUER: `http://127.0.0.1:${addresses.port}`,
        DATABASE_URL: databaseUrl,
        GATEHOUSE_DATA_DIR: dataDir,
        GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
        ...environment,
      },
      addresses,
    );
    const bootstrap = JSON.parse(await readFile(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
    return asGatehouse({
      ...bootstrap,
      url: server.url,
      managementUrl: server.managementUrl,
      databaseUrl,
      database: createDatabase(pool),
      output: () => server.output().stdout,
      async stop() {
        server.signal('SIGTERM');
        await server.ended();
        await stop();
      },
    });
  } catch (error) {
    await stop();
    throw error;
  }
}

type Process = Omit<Gatehouse, 'adminUrl' | 'log' | 'adminToken' | 'adminCall'> & { readonly output: () => string };

function asGatehouse({ output, ...its }: Process): Gatehouse {
  const { url, admin } = its;
  return {
    ...its,
    adminUrl: url,
    get log() {
      return output().split('\n');
    },
    adminToken: (scope) => requestToken(url, admin, scope),
    async adminCall(method, path, body, headers = {}) {
      return fetch(`${url}/admin/v1${path}`, {
        method,
        headers: {
          authorization: `Bearer ${await requestToken(url, admin)}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    },
  };
}

/** So many requests at the same moment, to both nodes in turn. */
export function atOnce<T>(
  count: number,
  { a, b }: Pair,
  request: (node: Gatehouse, index: number) => Promise<T>,
): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => request(index % 2 === 0 ? a : b, index)));
}
