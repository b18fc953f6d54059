/** A thread that hashes, one at a time, when the processor has nothing better to do (see argon2id.ts). */
import { argon2Sync, type Argon2Parameters } from 'node:crypto';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';

/** A seventieth of what a thread of the usual priority gets, where both want the same core; else all of it. */
const NICENESS = 19;

// there it is the thread's own; elsewhere it would be the whole process's
if (process.platform === 'linux') setPriority(0, NICENESS);

parentPort!.on('message', (parameters: Argon2Parameters) => {
  const tag = new Uint8Array(argon2Sync('argon2id', parameters));
  parentPort!.postMessage(tag, [tag.buffer]);
});
