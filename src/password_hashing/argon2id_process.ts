/**
 * The child process that hashes, when the processor has nothing better to do (see argon2id.ts). The package computes in
 * libuv's pool, whose threads can't give way by themselves: where they are alone with the hashing, all of them can.
 */
import { setPriority } from 'node:os';
import { argon2id, hash, verify } from 'argon2';

/** Compares the value with what is stored, or hashes it where nothing is. */
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
/** A seventieth of what a process of the usual priority gets, where both want the same core; else all of it. */
const NICENESS = 19;

// on Linux it is this thread's, and that of the pool's threads, which this one begins later
setPriority(NICENESS);

// a terminal sends these to the whole group; the parent still finishes what is under way
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
// also when the parent was killed
process.on('disconnect', () => process.exit());

process.on('message', (question: Question) => {
  // where it can't be sent nobody waits for it
  void answer(question).then((given) => process.send!(given, () => {}));
});

async function answer({ id, value, stored }: Question): Promise<Answer> {
  try {
    return { id, result: stored === undefined ? await hash(value, COST) : await verify(stored, value) };
  } catch (error) {
    return { id, problem: (error as Error).message };
  }
}
