/** A server in a process of its own, on a core of its own where there are two, and processes that load it. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { API, REDIRECT_URI, Seed, type BenchClient } from '../../../bench/seed.ts';
import { cloneDatabase } from './database.ts';
import { TEST_MASTER_KEY } from './gatehouse.ts';
import type { Loaded, Task } from '../client/load_generator.ts';
import { MAIN, NODE, Processes, type Environment, type Server } from './process.ts';

const GENERATOR = join(import.meta.dirname, '../client/load_generator.ts');
const TASKSET = '/usr/bin/taskset';
const PINNED = existsSync(TASKSET) && availableParallelism() > 1;
const MACHINE = { grant_types: ['client_credentials'], resources: [{ resource: API, scopes: ['notes:read'] }] };
const APPLICATION = { ...MACHINE, grant_types: ['authorization_code'], redirect_uris: [REDIRECT_URI] };

export class LoadedServer {
  readonly server: Server;
  /** Clients that ask now and then. */
  readonly crowd: readonly BenchClient[];
  readonly loud: BenchClient;
  readonly #application: BenchClient;
  readonly #processes: Processes;
  readonly #clean: () => Promise<void>;

  private constructor(
    server: Server,
    clients: readonly BenchClient[],
    application: BenchClient,
    processes: Processes,
    clean: () => Promise<void>,
  ) {
    const [loud, ...crowd] = clients;
    this.server = server;
    this.loud = loud!;
    this.crowd = crowd;
    this.#application = application;
    this.#processes = processes;
    this.#clean = clean;
  }

  static async start(environment: Environment = {}): Promise<LoadedServer> {
    const processes = new Processes();
    const clone = await cloneDatabase();
    const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-loaded-'));
    const clean = async (): Promise<void> => {
      await processes.end();
      await clone.drop();
      await rm(dataDir, { recursive: true, force: true });
    };
    try {
      const server = await processes.ready([...(PINNED ? [TASKSET, '-c', '1'] : []), NODE, MAIN], {
        DATABASE_URL: clone.url,
        GATEHOUSE_DATA_DIR: dataDir,
        GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
        LOG_LEVEL: 'error',
        // the default: what is measured here is production's
        GATEHOUSE_RSA_BITS: '',
        ...environment,
      });
      const seed = await Seed.in(clone.url, TEST_MASTER_KEY);
      try {
        const clients = await seed.clients(51, MACHINE);
        const [application] = await seed.clients(1, APPLICATION);
        return new LoadedServer(server, clients, application!, processes, clean);
      } finally {
        await seed.stop();
      }
    } catch (error) {
      await clean();
      throw error;
    }
  }

  /** What the crowd sees that asks for tokens at a steady rate. */
  tokens(perSecond: number, seconds: number): Promise<Loaded> {
    return this.#load({ kind: 'tokens', clients: this.crowd, connections: 32, perSecond, seconds });
  }

  /** One client that asks for more as soon as it is answered, or all others who do. */
  flood(connections: number, seconds: number, clients: readonly BenchClient[] = [this.loud]): Promise<Loaded> {
    return this.#load({ kind: 'flood', clients, connections, seconds });
  }

  /** Many people who try to log in at once, again and again. */
  logins(connections: number, seconds: number): Promise<Loaded> {
    const query = new URLSearchParams({
      client_id: this.#application.id,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid notes:read',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    });
    const authorizationUrl = `${this.server.url}/authorize?${query}`;
    return this.#load({ kind: 'logins', clients: [], connections, seconds, authorizationUrl });
  }

  stop(): Promise<void> {
    return this.#clean();
  }

  async #load(task: Omit<Task, 'port'>): Promise<Loaded> {
    const port = Number(new URL(this.server.url).port);
    const command = [NODE, GENERATOR, JSON.stringify({ ...task, port })];
    const { code, stdout, stderr } = await this.#processes
      .spawn(PINNED ? [TASKSET, '-c', '0', ...command] : command)
      .ended((task.seconds + 20) * 1_000);
    if (code !== 0) throw new Error(`The load ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as Loaded;
  }
}
