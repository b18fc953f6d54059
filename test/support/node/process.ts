/** Gatehouse as operators run it: real processes, with no variables of our environment but those that a shell needs. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type Environment = Readonly<Record<string, string>>;

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly pid: number;
  /** What it has written so far. */
  output(): Pick<Ending, 'stdout' | 'stderr'>;
  /** To this process alone. */
  signal(signal: NodeJS.Signals): void;
  /** To its whole group, as a terminal does on Ctrl-C. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Fails when that takes longer than 20 s, or what is given. */
  ended(withinMilliseconds?: number): Promise<Ending>;
}

export interface Server extends Running {
  readonly url: string;
  readonly managementUrl: string;
}

export interface Addresses {
  readonly port: number;
  readonly managementPort: number;
}

const PROJECT = join(import.meta.dirname, '../../..');
export const NODE = process.execPath;
export const MAIN = join(PROJECT, 'src/main.ts');
export const CLI = join(PROJECT, 'src/cli/main.ts');

const START_PATIENCE_MS = 60_000;
const END_PATIENCE_MS = 20_000;
/** A start takes a second of a core, and each question a few milliseconds of the same. */
const READY_POLL_MS = 50;

/** `$$` leads a group of its own, and a reader in it kills that group when the test's end of the pipe is gone. */
const TETHERED = '( (read -r _ <&3; kill -KILL -$$) >/dev/null 2>&1 & ); exec 3<&-; exec "$@"';

/** The processes of one test file. Processes that still run at the end, or when the tests die themselves, are killed. */
export class Processes {
  readonly #children: ChildProcess[] = [];

  /** A command in a group of its own. */
  spawn(command: readonly string[], environment: Environment = {}): Running {
    const child = spawn('/bin/sh', ['-c', TETHERED, 'tethered', ...command], {
      cwd: PROJECT,
      // on a database of the tests' a server is told that it is for development; production is said where it is meant
      env: { ...SHELL, ...(environment.DATABASE_URL && { NODE_ENV: 'development' }), ...environment },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.#children.push(child);
    const said = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]!.setEncoding('utf8').on('data', (text: string) => (said[stream] += text));
    }
    // not 'close', which would wait for the tether too; a process that is left behind keeps an output open
    const over = Promise.all([once(child, 'exit'), once(child.stdout!, 'end'), once(child.stderr!, 'end')]);
    const pid = child.pid ?? assert.fail(`${command[0]} could not be started.`);
    return {
      pid,
      output: () => ({ ...said }),
      signal: (signal) => void process.kill(pid, signal),
      signalGroup: (signal) => void process.kill(-pid, signal),
      async ended(withinMilliseconds = END_PATIENCE_MS) {
        await within(withinMilliseconds, over, () => `still runs: ${said.stdout}${said.stderr}`);
        return { code: child.exitCode, signal: child.signalCode, ...said };
      },
    };
  }

  /** The command's end. */
  run(command: readonly string[], environment: Environment = {}): Promise<Ending> {
    return this.spawn(command, environment).ended();
  }

  /** `node src/main.ts` on free ports, or the ones given, when it is ready. */
  async start(environment: Environment, addresses?: Addresses): Promise<Server> {
    return this.ready([NODE, MAIN], environment, addresses);
  }

  /** Any command that starts a server, when that is ready. */
  async ready(command: readonly string[], environment: Environment, addresses?: Addresses): Promise<Server> {
    const { port, managementPort } = addresses ?? (await freeAddresses());
    const running = this.spawn(command, {
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
      // on a machine that does much else at once, a database that is late is not away
      GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '5000',
      // and a process that is late has not too much to do
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
      GATEHOUSE_ANSWER_MILLISECONDS: '20000',
      // keys that are made three times as fast
      GATEHOUSE_RSA_BITS: '2048',
      ...environment,
    });
    const managementUrl = `http://127.0.0.1:${managementPort}`;
    const over = running.ended().catch(() => undefined);
    const deadline = performance.now() + START_PATIENCE_MS;
    while (!(await isReady(managementUrl))) {
      const ended = await Promise.race([over, delay(READY_POLL_MS, undefined)]);
      if (ended) assert.fail(`The server ended with ${ended.code ?? ended.signal}: ${ended.stdout}${ended.stderr}`);
      if (performance.now() > deadline) {
        const { stdout, stderr } = running.output();
        assert.fail(`The server is not ready: ${stdout}${stderr}`);
      }
    }
    // where development's own issuer is, unless another one was chosen
    const host = environment.ISSUER === undefined ? 'localhost' : '127.0.0.1';
    return { ...running, url: `http://${host}:${port}`, managementUrl };
  }

  /** Kills what still runs, and what that has started. */
  async end(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      const gone = child.exitCode !== null || child.signalCode !== null || once(child, 'exit');
      child.stdio[3]!.destroy();
      await within(END_PATIENCE_MS, Promise.resolve(gone), () => `can't kill process ${child.pid}`);
    }
  }
}

/**
 * Ports without a listener: below those that the kernel commonly lends to outgoing connections, which could take one
 * before a server does, and from a stretch of this process's own, since other test files look for ports at the same time.
 */
export async function freeAddresses(): Promise<Addresses> {
  return { port: await freePort(), managementPort: await freePort() };
}

const FIRST_PORT = 10_000;
const STRETCHES = 88;
const PORTS_PER_STRETCH = 250;
/** Where it begins is random: two processes may have the same stretch. */
let portsTried = Math.floor(Math.random() * PORTS_PER_STRETCH);

async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < PORTS_PER_STRETCH; attempt++) {
    const port = FIRST_PORT + (process.pid % STRETCHES) * PORTS_PER_STRETCH + (portsTried++ % PORTS_PER_STRETCH);
    if (await isFree(port)) return port;
  }
  return assert.fail('No port is free.');
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch {
    return false;
  }
  await once(server.close(), 'close');
  return true;
}

/** Waits until the process is gone. */
export async function isGone(pid: number): Promise<void> {
  const deadline = performance.now() + END_PATIENCE_MS;
  while (isAlive(pid)) {
    assert.ok(performance.now() < deadline, `Process ${pid} is still there after ${END_PATIENCE_MS} ms.`);
    await delay(20);
  }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The user's own `node` first, if there is one: what people paste into a terminal is run by that. */
const SHELL: Environment = {
  PATH: [process.env.PATH ?? '/usr/bin:/bin', dirname(NODE)].join(delimiter),
  HOME: process.env.HOME ?? '/',
  ...(process.env.TMPDIR && { TMPDIR: process.env.TMPDIR }),
  // as `npm start` has it
  NODE_COMPILE_CACHE: join(PROJECT, 'node_modules/.compiled'),
};

async function isReady(managementUrl: string): Promise<boolean> {
  try {
    const response = await fetch(`${managementUrl}/readyz`, { signal: AbortSignal.timeout(5_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

async function within<T>(milliseconds: number, promise: Promise<T>, problem: () => string): Promise<T> {
  const timer = new AbortController();
  const late = delay(milliseconds, undefined, { signal: timer.signal, ref: false }).then(
    () => assert.fail(`After ${milliseconds} ms it ${problem()}`),
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
