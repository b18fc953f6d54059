/** `npm run check`: runs all checks, two at a time, and shows the output of each when it ends. */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

/** The longest first. */
const CHECKS = ['format:check', 'types', 'lint', 'unused', 'prose'];
const AT_ONCE = 2;

const waiting = [...CHECKS];
await Promise.all(Array.from({ length: AT_ONCE }, runChecks));

async function runChecks(): Promise<void> {
  for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
    const { passed, output } = await run(check);
    if (!passed) process.exitCode = 1;
    console.log(`${passed ? 'passed' : 'FAILED'}: npm run ${check}\n${output}`);
  }
}

/** Each line goes to one place, in the order in which it was written. */
async function run(check: string): Promise<{ passed: boolean; output: string }> {
  const child = spawn(`exec npm run --silent ${check} 2>&1`, { shell: true, stdio: ['ignore', 'pipe', 'inherit'] });
  const code = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('exit', resolve));
  const output = await text(child.stdout);
  return { passed: (await code) === 0, output };
}
