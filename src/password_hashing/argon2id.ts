/**
 * argon2id for passwords and operator-chosen secrets. A hash is costly by design, so a child process computes it and
 * leaves the core to requests. Only a few are computed at once, some more wait, and further ones are rejected.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Question } from './argon2id_process.ts';
import { notCounted } from '../base/time_budget.ts';
import { Unavailable } from '../base/unavailable.ts';

/** A second and a half of work for two threads with a core each. */
const WAITING_AT_MOST = 100;
/** By then the client has given up or tries again. */
const LONGEST_WAIT_MILLISECONDS = 5_000;
const SMALL_HEAP = ['--max-old-space-size=16', '--max-semi-space-size=1'];

export class Argon2id {
  readonly #atOnce: number;
  /** In the order of their arrival. */
  readonly #waiting = new Set<() => void>();
  #running = 0;
  #process: HashingProcess | undefined;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** The number of waiting hashes. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Returns `$argon2id$v=19$m=19456,p=1,t=2$salt$tag`. Throws `Unavailable` if too many wait, or if the child process
   * ends.
   */
  async hash(value: string): Promise<string> {
    return (await notCounted(() => this.#inTurn({ value }))) as string;
  }

  /** Compares `value` with a stored hash. Throws `Unavailable` as `hash` does: then the value was not checked. */
  async verify(stored: string, value: string): Promise<boolean> {
    if (!stored.startsWith('$argon2id$')) throw new Error('The stored value is not an argon2id hash.');
    return (await notCounted(() => this.#inTurn({ stored, value }))) as boolean;
  }

  /** Kills the child process, even during a hash. */
  async stop(): Promise<void> {
    await this.#process?.end();
  }

  async #inTurn(question: Omit<Question, 'id'>): Promise<Answer['result']> {
    if (this.#running >= this.#atOnce) await this.#waitForTurn();
    else this.#running++;
    try {
      return await this.#hashing().ask(question);
    } finally {
      // the longest waiting one takes over the place, so that a new one can't take it first
      const [next] = this.#waiting;
      if (next) next();
      else this.#running--;
    }
  }

  #waitForTurn(): Promise<void> {
    if (this.#waiting.size >= WAITING_AT_MOST) throw new Unavailable('Too many passwords wait to be checked.');
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(begin);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(begin);
        reject(new Unavailable('A password was not checked in time.'));
      }, LONGEST_WAIT_MILLISECONDS);
      this.#waiting.add(begin);
    });
  }

  #hashing(): HashingProcess {
    return (this.#process ??= new HashingProcess(this.#atOnce, () => (this.#process = undefined)));
  }
}

/** The child process, and its unanswered questions. It keeps its parent alive only while there are such questions. */
class HashingProcess {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, PromiseWithResolvers<Answer['result']>>();
  readonly #ended = Promise.withResolvers<string>();
  #lastId = 0;

  constructor(atOnce: number, onEnd: () => void) {
    // it needs only the compile cache of our environment, and none of our command line flags; it writes only fatal
    // errors
    const compiled = getCompileCacheDir();
    this.#child = fork(fileURLToPath(new URL('./argon2id_process.ts', import.meta.url)), {
      env: {
        UV_THREADPOOL_SIZE: String(atOnce),
        ...(compiled !== undefined && { NODE_COMPILE_CACHE: dirname(compiled) }),
      },
      execArgv: SMALL_HEAP,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (answer: Answer) => this.#take(answer));
    this.#child.on('exit', (code, signal) => this.#ended.resolve(signal ?? `code ${code}`));
    this.#child.on('error', (error) => this.#ended.resolve(error.message));
    void this.#ended.promise.then((why) => {
      onEnd();
      for (const { reject } of this.#asked.values()) reject(new Unavailable(`The hashing process ended: ${why}.`));
    });
  }

  ask(question: Omit<Question, 'id'>): Promise<Answer['result']> {
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<Answer['result']>();
    this.#asked.set(id, asked);
    this.#keepParent();
    // if it can't be sent, the process has ended or is about to; its end rejects the promise
    if (this.#child.connected) this.#child.send({ id, ...question } satisfies Question, () => {});
    return asked.promise;
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    this.#child.ref();
    await this.#ended.promise;
  }

  #take({ id, result, problem }: Answer): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    this.#keepParent();
    if (problem === undefined) asked?.resolve(result);
    else asked?.reject(new Error(`argon2id could not be computed: ${problem}`));
  }

  #keepParent(): void {
    const keep = this.#asked.size > 0 ? 'ref' : 'unref';
    this.#child[keep]();
    this.#child.channel?.[keep]();
  }
}
