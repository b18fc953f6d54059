/** Two Gatehouse processes on one database, as behind a load balancer: whatever one does, the other must hear of. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bootstrap } from '../../src/bootstrap/development.ts';
import { createDatabase, createPool } from '../../src/db/connection.ts';
import { cloneDatabase } from './database.ts';
import { requestToken, TEST_MASTER_KEY, type Gatehouse } from './gatehouse.ts';
import { freeAddresses, Processes, type Environment } from './process.ts';

export interface Pair {
  /** The first one's address is the issuer of both. */
  readonly a: Gatehouse;
  readonly b: Gatehouse;
  /** Kills a node's process where it stands. */
  kill(node: Gatehouse): void;
  stop(): Promise<void>;
}

export async function startPair(environment: Environment = {}): Promise<Pair> {
  const processes = new Processes();
  const clone = await cloneDatabase();
  const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-pair-'));
  const pool = createPool({ connectionString: clone.url, maxConnections: 5, onIdleError: () => {} });
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
      ...environment,
    };
    const first = await processes.start(common, addresses);
    const second = await processes.start(common);
    const bootstrap = JSON.parse(await readFile(join(dataDir, 'bootstrap.json'), 'utf8')) as Bootstrap;
    const database = createDatabase(pool);
    const node = ({ url, managementUrl, output }: typeof first): Gatehouse => ({
      ...bootstrap,
      url,
      managementUrl,
      adminUrl: url,
      databaseUrl: clone.url,
      database,
      get log() {
        return output().stdout.split('\n');
      },
      adminToken: (scope) => requestToken(url, bootstrap.admin, scope),
      async adminCall(method, path, body, headers = {}) {
        return fetch(`${url}/admin/v1${path}`, {
          method,
          headers: {
            authorization: `Bearer ${await requestToken(url, bootstrap.admin)}`,
            ...(body !== undefined && { 'content-type': 'application/json' }),
            ...headers,
          },
          ...(body !== undefined && { body: JSON.stringify(body) }),
        });
      },
      stop,
    });
    const [a, b] = [node(first), node(second)];
    return { a, b, kill: (one) => (one === a ? first : second).signal('SIGKILL'), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** So many requests at the same moment, to both nodes in turn. */
export function atOnce<T>(
  count: number,
  { a, b }: Pair,
  request: (node: Gatehouse, index: number) => Promise<T>,
): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => request(index % 2 === 0 ? a : b, index)));
}
