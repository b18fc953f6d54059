/** A server in a process of its own, on a database of its own, with a folder for the files that `gatehouse audit` reads. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cloneDatabase, type TestDatabase } from './database.ts';
import { TEST_MASTER_KEY } from './gatehouse.ts';
import { CLI, NODE, Processes, type Ending, type Environment, type Server } from './process.ts';

export class AuditedServer {
  readonly #processes = new Processes();
  readonly #database: TestDatabase;
  readonly #environment: Environment;
  readonly #folder: string;

  private constructor(database: TestDatabase, folder: string, environment: Environment) {
    this.#database = database;
    this.#folder = folder;
    this.#environment = {
      DATABASE_URL: database.url,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      ISSUER: 'http://127.0.0.1:3000',
      ...environment,
    };
  }

  /** Without a running process; `start` begins one. */
  static async prepare(environment: Environment = {}): Promise<AuditedServer> {
    return new AuditedServer(await cloneDatabase(), await mkdtemp(join(tmpdir(), 'gatehouse-')), environment);
  }

  get databaseUrl(): string {
    return this.#database.url;
  }

  start(): Promise<Server> {
    return this.#processes.start(this.#environment);
  }

  /** Of a file in the folder, which is the server's data folder too: `bootstrap.json` is there. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** `gatehouse audit …` with the server's environment. */
  audit(...words: string[]): Promise<Ending> {
    return this.#processes.run([NODE, CLI, 'audit', ...words], this.#environment);
  }

  /** `gatehouse audit …` without it: no database, no master key. */
  auditElsewhere(...words: string[]): Promise<Ending> {
    return this.#processes.run([NODE, CLI, 'audit', ...words]);
  }

  async end(): Promise<void> {
    await this.#processes.end();
    await this.#database.drop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
