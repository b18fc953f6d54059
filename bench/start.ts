/** Measures the time from the start of a process to its first token, with a running database and compiled code. */
import { setTimeout as delay } from 'node:timers/promises';
import { post } from './conversations.ts';
import { median } from './report.ts';
import { TOKEN_FORM } from './scenarios.ts';
import type { BenchClient } from './seed.ts';
import { GATEHOUSE, Target } from './target.ts';

export interface StartSettings {
  readonly environment: Readonly<Record<string, string>>;
  readonly port: number;
  readonly client: BenchClient;
  readonly rounds: number;
}

/** Returns a sentence with the medians. */
export async function timeToFirstToken({ environment, port, client, rounds }: StartSettings): Promise<string> {
  const seconds: number[] = [];
  const cpuSeconds: number[] = [];
  const head = post('/token', client, TOKEN_FORM).toString();
  const headers = {
    authorization: /Authorization: (.+)\r\n/.exec(head)?.[1] ?? '',
    'content-type': 'application/x-www-form-urlencoded',
  };
  const asked = async (): Promise<boolean> => {
    const request = { method: 'POST', headers, body: TOKEN_FORM };
    const answer = await fetch(`http://127.0.0.1:${port}/token`, request).catch(() => undefined);
    await answer?.arrayBuffer();
    return answer?.status === 200;
  };
  // the first round only compiles
  for (let round = 0; round <= rounds; round++) {
    const began = performance.now();
    const target = new Target(GATEHOUSE, { ...environment, PORT: String(port) });
    while (!(await asked())) await delay(2);
    if (round > 0) {
      seconds.push((performance.now() - began) / 1000);
      cpuSeconds.push(target.cpuMicroseconds() / 1e6);
    }
    await target.stop();
  }
  return `From the start of the process to its first token, with the database up: ${median(seconds).toFixed(2)} s, of which ${median(cpuSeconds).toFixed(2)} s of the CPU.`;
}
