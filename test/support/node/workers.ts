/** A node of several processes, seen from outside: which of them answered, and a connection to each. */
import { mkdtemp, readFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Bootstrap } from '../../../src/bootstrap/development.ts';
import { cloneDatabase, type TestDatabase } from './database.ts';
import { removeFolder } from './folder.ts';
import { TEST_MASTER_KEY } from './gatehouse.ts';
import { eventually } from './operator.ts';
import type { Environment, Processes, Running, Server } from './process.ts';

interface Credentials {
  readonly client_id: string;
  readonly client_secret: string;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly requestId: string;
}

/** One connection, kept open: the worker that accepted it answers all its requests. */
export class Connection {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(url: string) {
    this.#url = url;
  }

  /** The body is sent after a pause, where one is given. */
  ask(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>> = {},
    body = '',
    pauseMilliseconds = 0,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(this.#url + path, { method, headers, agent: this.#agent }, (answer) => {
        const { statusCode = 0, headers: given } = answer;
        const requestId = String(given['x-request-id']);
        text(answer).then((all) => resolve({ status: statusCode, body: all, requestId }), reject);
      });
      sent.on('error', reject);
      if (pauseMilliseconds === 0) sent.end(body);
      else {
        sent.flushHeaders();
        setTimeout(() => sent.end(body), pauseMilliseconds);
      }
    });
  }

  post(
    path: string,
    form: Readonly<Record<string, string>>,
    client: Credentials,
    pauseMilliseconds = 0,
  ): Promise<Answer> {
    const [id, secret] = [client.client_id, client.client_secret].map(encodeURIComponent);
    const headers = {
      authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
    };
    const body = new URLSearchParams(form).toString();
    return this.ask('POST', path, { ...headers, 'content-length': String(body.length) }, body, pauseMilliseconds);
  }

  token(client: Credentials): Promise<Answer> {
    return this.post('/token', { grant_type: 'client_credentials' }, client);
  }

  /** Begins to ask now, and has asked after so many milliseconds. */
  tokenSlowly(client: Credentials, milliseconds: number): Promise<Answer> {
    return this.post('/token', { grant_type: 'client_credentials' }, client, milliseconds);
  }

  close(): void {
    this.#agent.destroy();
  }
}

export interface LogLine {
  readonly msg: string;
  readonly pid: number;
  readonly worker?: number;
  readonly audit?: { readonly request_id: string | null };
  readonly [field: string]: unknown;
}

export function logOf(running: Pick<Running, 'output'>): LogLine[] {
  const lines = running.output().stdout.split('\n').slice(0, -1);
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogLine);
}

export interface AtWorker {
  readonly worker: number;
  readonly pid: number;
  readonly connection: Connection;
}

/** A connection to each of `count` workers, by the number of the worker. */
export async function connectToEach(server: Server, count: number, client: Credentials): Promise<AtWorker[]> {
  const found = new Map<number, AtWorker>();
  for (let tries = 0; found.size < count && tries < 20 * count; tries++) {
    const connection = new Connection(server.url);
    const { status, requestId, body } = await connection.token(client);
    if (status !== 200) throw new Error(`No token: ${status} ${body}`);
    // lines of the log leave together, a moment after they were written
    await eventually(() => Promise.resolve(lineAbout(server, requestId) !== undefined), 10_000);
    const { worker = 0, pid } = lineAbout(server, requestId)!;
    if (found.has(worker)) connection.close();
    else found.set(worker, { worker, pid, connection });
  }
  return [...found.values()].toSorted((a, b) => a.worker - b.worker);
}

function lineAbout(server: Server, requestId: string): LogLine | undefined {
  return logOf(server).find((line) => line.audit?.request_id === requestId);
}

/** The sum of a counter's values at /metrics. */
export async function countedAt(server: Pick<Server, 'managementUrl'>, name: string, label = ''): Promise<number> {
  const answer = await (await fetch(`${server.managementUrl}/metrics`)).text();
  const lines = answer.split('\n').filter((line) => line.startsWith(name) && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

export interface TwoWorkers {
  readonly server: Server;
  readonly bootstrap: Bootstrap;
  readonly database: TestDatabase;
  /** Ends the processes first, then takes away what they had. */
  stop(): Promise<void>;
}

/** A node of two workers on a database of its own; a slow machine is not overload here. */
export async function startTwoWorkers(processes: Processes, environment: Environment): Promise<TwoWorkers> {
  const database = await cloneDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'gatehouse-workers-'));
  const server = await processes.start({
    DATABASE_URL: database.url,
    GATEHOUSE_DATA_DIR: folder,
    GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    GATEHOUSE_WORKERS: '2',
    GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
    GATEHOUSE_ANSWER_MILLISECONDS: '20000',
    ...environment,
  });
  const bootstrap = JSON.parse(await readFile(join(folder, 'bootstrap.json'), 'utf8')) as Bootstrap;
  const stop = async (): Promise<void> => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  };
  return { server, bootstrap, database, stop };
}
