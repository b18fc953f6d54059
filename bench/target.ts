/** Runs a server under test in its own processes on one core. The kernel reports their CPU time and memory. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const SERVER_CORE = '0';
/** The command that starts a node, as in the image. */
export const GATEHOUSE = [
  '--max-semi-space-size=4',
  '--heap-growing-percent=25',
  '--v8-pool-size=1',
  join(import.meta.dirname, '../src/main.ts'),
];
const COMPILED = join(import.meta.dirname, '../node_modules/.compiled');
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK']).toString());

export class Target {
  readonly #child: ChildProcess;

  /** `script` may begin with options of Node. */
  constructor(script: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#child = spawn('taskset', ['-c', SERVER_CORE, process.execPath, ...script], {
      env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: COMPILED, MALLOC_ARENA_MAX: '2', ...environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }

  /** Resolves when the port answers. */
  async ready(port: number): Promise<void> {
    for (const end = Date.now() + 30_000; Date.now() < end; await delay(20)) {
      const answered = await fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      );
      if (answered) return;
      if (this.#child.exitCode !== null) break;
    }
    throw new Error('The server under test did not start.');
  }

  /** Returns the user and system time until now in microseconds, including the server's workers. */
  cpuMicroseconds(): number {
    return processesOf(this.#child.pid!).reduce((sum, pid) => sum + cpuMicroseconds(pid), 0);
  }

  residentMegabytes(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exited;
  }
}

function cpuMicroseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1e6;
}

function processesOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(processesOf)];
}
