/**
 * Node's helper threads, which compile and collect garbage, and the thread that answers requests. A process that has one
 * core gives each the same share of it, so that everybody waits while garbage is collected. Here helpers get half as much
 * as the one they help: with much less, garbage would pile up.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** Linux knows threads by numbers of their own, and each has its own niceness. */
const THREADS = '/proc/self/task';
const NICER = 3;
const NICEST = 19;
/** Later versions of Node write their own name before it. */
const HELPER = /V8Worker$/m;

/** Does nothing where threads can't be told apart. */
export function letHelpersGiveWay(): void {
  try {
    const niceness = Math.min(NICEST, getPriority() + NICER);
    for (const thread of readdirSync(THREADS)) {
      if (HELPER.test(readFileSync(`${THREADS}/${thread}/comm`, 'utf8'))) setPriority(Number(thread), niceness);
    }
  } catch {
    // not Linux, or a thread that is gone already: they share alike, as they do without us
  }
}
