/** Programs of Python's MCP SDK and of FastMCP that a test talks to. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Person } from '../person/person.ts';

const PATIENCE_MILLISECONDS = 60_000;

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
  command: readonly string[],
  person: Person,
  [library, url]: readonly [library: 'sdk' | 'fastmcp', url: string],
  clientMetadataUrl?: string,
): PythonProgram {
  const child = spawn(command[0]!, [...command.slice(1), library, url], {
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
