/**
 * argon2id for what people choose. Costly by design, so a process of its own does it, which leaves the processor to whoever
 * answers requests; only a few are computed at once, a few more wait their turn, and the rest have to come again.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Question } from './argon2id_process.ts';
import { Unavailable } from '../base/unavailable.ts';

/** A second and a half of work for two threads that have a core each. */
const WAITING_AT_MOST = 100;
/** By then whoever asked has gone, or tries again. */
const LONGEST_WAIT_MILLISECONDS = 5_000;
const SMALL_HEAP = ['--max-old-space-size=16', '--max-semi-space-size=1'];

export class Argon2id {
  readonly #atOnce: number;
  /** In the order in which they came. */
  readonly #waiting = new Set<() => void>();
  #running = 0;
  #process: HashingProcess | undefined;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** `$argon2id$v=19$m=19456,p=1,t=2$salt$tag`; throws `Unavailable` where too many wait or what hashes ends. */
  async hash(value: string): Promise<string> {
    return (await this.#inTurn({ value })) as string;
  }

  /** Throws `Unavailable` as `hash` does: whether the value is the right one nobody has looked at. */
  async verify(stored: string, value: string): Promise<boolean> {
    if (!stored.startsWith('$argon2id$')) throw new Error('What is stored is no argon2id hash.');
    return (await this.#inTurn({ stored, value })) as boolean;
  }

  /** Ends the process that hashes, whatever is under way. */
  async stop(): Promise<void> {
    await this.#process?.end();
  }

  async #inTurn(question: Omit<Question, 'id'>): Promise<Answer['result']> {
    if (this.#running >= this.#atOnce) await this.#turn();
    else this.#running++;
    try {
      return await this.#hashing().ask(question);
    } finally {
      // the place goes straight to whoever waited longest, so nobody can slip in between
      const [next] = this.#waiting;
      if (next) next();
      else this.#running--;
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.size >= WAITING_AT_MOST) throw new Unavailable('Too many passwords wait to be looked at.');
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(begin);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(begin);
        reject(new Unavailable('A password was not looked at in time.'));
      }, LONGEST_WAIT_MILLISECONDS);
      this.#waiting.add(begin);
    });
  }

  #hashing(): HashingProcess {
    return (this.#process ??= new HashingProcess(this.#atOnce, () => (this.#process = undefined)));
  }
}

/** The child process, and what it was asked. Nothing but work under way keeps its parent from ending. */
class HashingProcess {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, PromiseWithResolvers<Answer['result']>>();
  readonly #ended = Promise.withResolvers<string>();
  #lastId = 0;

  constructor(atOnce: number, onEnd: () => void) {
    // it needs nothing of our environment but what was compiled before, and none of the flags that we were started with;
    // it writes only what breaks it
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
      for (const { reject } of this.#asked.values()) reject(new Unavailable(`The process that hashes ended: ${why}.`));
    });
  }

  ask(question: Omit<Question, 'id'>): Promise<Answer['result']> {
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<Answer['result']>();
    this.#asked.set(id, asked);
    this.#keepParent();
    // where it can't be sent the process has ended, or is about to, and its end is heard of
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
