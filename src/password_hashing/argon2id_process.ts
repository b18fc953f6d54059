/**
 * The child process that computes hashes at low priority (see argon2id.ts). The argon2 package computes in libuv's
 * thread pool, whose threads can't have a priority of their own; in a separate process they all get it.
 */
import { flushCompileCache } from 'node:module';
import { setPriority } from 'node:os';
import { argon2id, hash, verify } from 'argon2';

/** Compares the value with the stored hash, or hashes it if there is none. */
export interface Question {
  readonly id: number;
  readonly value: string;
  readonly stored?: string;
}

export interface Answer {
  readonly id: number;
  readonly result?: string | boolean;
  readonly problem?: string;
}

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { type: argon2id, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
/** A seventieth of the share of a normal process if both want the same core; else all of it. */
const NICENESS = 19;

// on Linux it applies to this thread and to the pool's threads, which it starts later
setPriority(NICENESS);

// a terminal sends these to the whole group; the parent still finishes its requests
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
// also if the parent was killed
process.on('disconnect', () => process.exit());

// the parent ends this process with SIGKILL, which leaves no time to store what was compiled
flushCompileCache();

process.on('message', (question: Question) => {
  // if it can't be sent, the parent has ended
  void answer(question).then((given) => process.send!(given, () => {}));
});

async function answer({ id, value, stored }: Question): Promise<Answer> {
  try {
    return { id, result: stored === undefined ? await hash(value, COST) : await verify(stored, value) };
  } catch (error) {
    return { id, problem: (error as Error).message };
  }
}
