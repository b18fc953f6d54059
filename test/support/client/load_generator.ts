/** A process that loads a server: `node load_generator.ts '<a Task as JSON>'`. Prints what came of it, as JSON. */
import { setTimeout as delay } from 'node:timers/promises';
import { closedLoop, openLoop, type LoadResult } from '../../../bench/load.ts';
import { post, type Conversation } from '../../../bench/conversations.ts';
import type { BenchClient } from '../../../bench/seed.ts';

export interface Task {
  readonly port: number;
  /** `tokens` at a steady rate; `flood` and `logins` as fast as they are answered. */
  readonly kind: 'tokens' | 'flood' | 'logins';
  readonly clients: readonly BenchClient[];
  readonly connections: number;
  readonly seconds: number;
  /** For `tokens`. */
  readonly perSecond?: number;
  /** For `logins`: where a browser is sent to log in. */
  readonly authorizationUrl?: string;
}

export interface Loaded {
  readonly perSecond: number;
  /** In milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** How many answers there were of each status. */
  readonly statuses: Readonly<Record<string, number>>;
}

const FORM = 'grant_type=client_credentials&scope=notes%3Aread';
const task = JSON.parse(process.argv[2]!) as Task;
const statuses: Record<string, number> = {};

const conversations = await Promise.all(Array.from({ length: task.connections }, conversation));
const result =
  task.kind === 'tokens'
    ? await openLoop(task.port, conversations, { perSecond: task.perSecond!, seconds: task.seconds })
    : await closedLoop(task.port, conversations, task.seconds);
process.stdout.write(JSON.stringify(summary(result)));

function summary({ units, seconds, latencies }: LoadResult): Loaded {
  const quantile = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))]!;
  return { perSecond: units / seconds, p50: quantile(0.5), p99: quantile(0.99), statuses };
}

async function conversation(): Promise<Conversation> {
  const next = task.kind === 'logins' ? await login() : token();
  return {
    begin: next,
    nextRequest: () => undefined,
    expects({ status }) {
      statuses[status] = (statuses[status] ?? 0) + 1;
      return true;
    },
  };
}

function token(): () => Buffer {
  const requests = task.clients.map((client) => post('/token', client, FORM));
  return () => requests[Math.floor(Math.random() * requests.length)]!;
}

/** One browser at a login page, where each attempt names another person, with a wrong password. */
async function login(): Promise<() => Buffer> {
  let response = await fetch(task.authorizationUrl!, { redirect: 'manual' });
  // so many at once may be told to retry
  while (response.status === 503) {
    await delay(100);
    response = await fetch(task.authorizationUrl!, { redirect: 'manual' });
  }
  const page = new URL(response.headers.get('location')!, task.authorizationUrl);
  const cookies = response.headers.getSetCookie().map((one) => one.split(';')[0]);
  return () => {
    const form = `email=${crypto.randomUUID()}%40example.com&password=not+their+password`;
    const headers = [
      `POST ${page.pathname}/login HTTP/1.1`,
      `Host: ${page.host}`,
      `Origin: ${page.origin}`,
      `Cookie: ${cookies.join('; ')}`,
      `X-Forwarded-For: 10.${octet()}.${octet()}.${octet()}`,
      'Content-Type: application/x-www-form-urlencoded',
      `Content-Length: ${form.length}`,
    ];
    return Buffer.from(`${headers.join('\r\n')}\r\n\r\n${form}`);
  };
}

function octet(): number {
  return Math.floor(Math.random() * 256);
}
