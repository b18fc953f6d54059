/**
 * argon2id for what people choose. Costly by design, so it is done by threads of their own, which leave the processor to
 * whoever answers requests; only a few run at once, a few more wait their turn, and the rest have to come again.
 */
import { randomBytes, type Argon2Parameters } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { equalInConstantTime } from './secret.ts';
import { Unavailable } from './unavailable.ts';

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1, tagLength: 32 } as const;
const SALT_BYTES = 16;
/** A second and a half of work for two threads that have a core each. */
const WAITING_AT_MOST = 100;
/** By then whoever asked has gone, or tries again. */
const LONGEST_WAIT_MILLISECONDS = 5_000;
const MEMORY = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };
/** `$argon2id$v=19$m=19456,t=2,p=1$salt$tag`, with base64 that is not padded; some write the three in another order. */
const STORED = /^\$argon2id\$v=19\$((?:[mtp]=\d+,?){3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

export class Argon2id {
  readonly #atOnce: number;
  readonly #idle: Worker[] = [];
  /** In the order in which they came. */
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** In the form in which `verify` takes it; throws `Unavailable` where too many wait. */
  async hash(value: string): Promise<string> {
    const nonce = randomBytes(SALT_BYTES);
    const tag = await this.#inTurn({ ...COST, message: value, nonce });
    const { memory, passes, parallelism } = COST;
    return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${encode(nonce)}$${encode(tag)}`;
  }

  /** Throws `Unavailable` where too many wait: whether the value is the right one nobody has looked at. */
  async verify(stored: string, value: string): Promise<boolean> {
    const [, cost, salt = '', tag = ''] = STORED.exec(stored) ?? [];
    if (cost === undefined) throw new Error('What is stored is no argon2id hash.');
    const { m, t, p } = Object.fromEntries(cost.split(',').map((one) => one.split('='))) as Record<string, string>;
    const expected = Buffer.from(tag, 'base64');
    const computed = await this.#inTurn({
      message: value,
      nonce: Buffer.from(salt, 'base64'),
      memory: Number(m),
      passes: Number(t),
      parallelism: Number(p),
      tagLength: expected.length,
    });
    return equalInConstantTime(computed, expected);
  }

  /** Ends the threads that wait for work. */
  async stop(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((worker) => worker.terminate()));
  }

  async #inTurn(parameters: Argon2Parameters): Promise<Buffer> {
    if (this.#running >= this.#atOnce) await this.#turn();
    else this.#running++;
    try {
      return await this.#compute(parameters);
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

  async #compute(parameters: Argon2Parameters): Promise<Buffer> {
    const worker = this.#idle.pop() ?? hire();
    const ended = new AbortController();
    const end = (): void => ended.abort();
    worker.once('exit', end);
    // nothing but work under way keeps the process
    worker.ref();
    worker.postMessage(parameters, []);
    // rejects where the thread fails, which is not used again then
    const [tag] = (await once(worker, 'message', ended)) as [Uint8Array];
    worker.off('exit', end);
    worker.unref();
    this.#idle.push(worker);
    return Buffer.from(tag);
  }
}

/** It needs nothing of our environment, and none of the flags that we were started with. */
function hire(): Worker {
  return new Worker(new URL('./argon2id_worker.ts', import.meta.url), {
    name: 'argon2id',
    env: {},
    execArgv: [],
    resourceLimits: MEMORY,
  });
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}
