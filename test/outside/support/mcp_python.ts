/** Python with the packages of mcp_requirements.txt, and programs of it that a test talks to. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Person } from '../../support/person/person.ts';

const run = promisify(execFile);
const REQUIREMENTS = join(import.meta.dirname, '../mcp_requirements.txt');
const PROGRAM = join(import.meta.dirname, 'mcp_program.py');
const PATIENCE_MILLISECONDS = 60_000;

/** True if `python3` can make virtual environments. */
export async function hasPython(): Promise<boolean> {
  return run('python3', ['-c', 'import ensurepip, venv']).then(
    () => true,
    () => false,
  );
}

/** Returns the interpreter of a virtual environment, which is kept in the temporary folder for later runs. */
export async function pythonWithMcp(): Promise<string> {
  const wanted = createHash('sha256')
    .update(await readFile(REQUIREMENTS))
    .digest('hex');
  const folder = join(tmpdir(), `gatehouse-mcp-python-${process.getuid?.()}-${wanted.slice(0, 12)}`);
  const complete = join(folder, 'complete');
  const python = join(folder, 'bin/python');
  if (existsSync(folder)) assert.equal((await stat(folder)).uid, process.getuid?.(), `${folder} is not ours`);
  if (existsSync(complete)) return python;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  await run('python3', ['-m', 'venv', folder]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS]);
  await writeFile(complete, '');
  return python;
}

export interface Answer {
  readonly answer: string;
  readonly client_id: string;
  readonly scope: string;
}

export interface PythonProgram {
  /** Calls a tool; on the way the person logs in and allows what the program requests. */
  call(tool: string): Promise<Answer>;
  /** The authorization requests that it sent the person with. */
  readonly requests: readonly URL[];
  stop(): void;
}

export function startPythonProgram(
  python: string,
  person: Person,
  [library, url]: readonly [library: 'sdk' | 'fastmcp', url: string],
  clientMetadataUrl?: string,
): PythonProgram {
  const child = spawn(python, [PROGRAM, library, url], {
    env: { PATH: process.env.PATH, ...(clientMetadataUrl && { CLIENT_METADATA_URL: clientMetadataUrl }) },
    signal: AbortSignal.timeout(PATIENCE_MILLISECONDS * 3),
  });
  child.on('error', () => {}); // the lines end then
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const requests: URL[] = [];
  return {
    requests,
    async call(tool) {
      child.stdin.write(`${tool}\n`);
      for (;;) {
        const { value, done } = await lines.next();
        if (done) throw new Error(`The program ended: ${said}`);
        const line = JSON.parse(value) as Answer | { readonly authorize: string };
        if (!('authorize' in line)) return line;
        requests.push(new URL(line.authorize));
        const callback = await person.authorize(line.authorize);
        assert.equal((await fetch(callback)).ok, true);
      }
    },
    stop: () => void child.kill('SIGKILL'),
  };
}
