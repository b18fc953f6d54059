/**
 * Lowers the priority of Node's helper threads, which compile and collect garbage. On one core they otherwise get the
 * same share as the thread that answers requests, and all requests wait during a garbage collection. They get half as
 * much: with much less, garbage would accumulate.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** On Linux each thread has its own id and its own niceness. */
const THREADS = '/proc/self/task';
const NICER = 3;
const NICEST = 19;
/** Later versions of Node put another name before it. */
const HELPER = /V8Worker$/m;

/** Does nothing if the system does not show threads separately. */
export function lowerHelperPriority(): void {
  try {
    const niceness = Math.min(NICEST, getPriority() + NICER);
    for (const thread of readdirSync(THREADS)) {
      if (HELPER.test(readFileSync(`${THREADS}/${thread}/comm`, 'utf8'))) setPriority(Number(thread), niceness);
    }
  } catch {
    // not Linux, or a thread that has ended: the priorities stay as they are
  }
}
