/**
 * Checks a presented client secret against the live ones. For secrets made here that is one keyed digest; argon2id,
 * for the ones that operators chose, runs once per secret and process: a pass is remembered under a key that never
 * leaves this process.
 */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import { equalInConstantTime } from '../base/secret.ts';
import type { Vault } from '../vault/vault.ts';
import { isLive, type ClientWithSecrets, type StoredSecret } from './client.ts';
import { looksServerMade } from './server_made_secret.ts';

/** Whether a client may cost another hash; see limits/secret_guesses.ts. */
export type AdmitComparison = (clientId: string, address: string) => Promise<Comparison>;

type Comparison =
  | { readonly admitted: true; right(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

/** Thrown where the presented secret may be the right one, and was not looked at. */
export class NotCompared extends Error {
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super('Too many secrets were shown for this client.');
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** What somebody shows, and from where. */
export interface Presented {
  readonly secret: string;
  readonly address: string;
}

export class SecretVerifier {
  readonly #vault: Vault;
  readonly #argon2id: Argon2id;
  readonly #admit: AdmitComparison;
  readonly #processKey = createSecretKey(randomBytes(32));
  readonly #right = new LRUCache<string, true>({ max: 20_000 });
  /** Apart, so that guesses don't push out what was right. */
  readonly #wrong = new LRUCache<string, true>({ max: 5_000 });
  /** Under way. The same secret that comes many times at once costs one comparison, and counts as one. */
  readonly #comparing = new Map<string, Promise<boolean>>();

  constructor(vault: Vault, argon2id: Argon2id, admit: AdmitComparison) {
    this.#vault = vault;
    this.#argon2id = argon2id;
    this.#admit = admit;
  }

  /** The live secret that the presented one is, or `undefined`; throws `NotCompared`. */
  async verify(client: ClientWithSecrets, presented: Presented, now: Date): Promise<StoredSecret | undefined> {
    const serverMade = looksServerMade(presented.secret);
    for (const secret of client.secrets) {
      if (!isLive(secret, now)) continue;
      if (secret.digest && serverMade && (await this.#matchesDigest(secret, presented.secret))) return secret;
      if (secret.argon2id && (await this.#matchesArgon2id(client.clientId, secret, presented))) return secret;
    }
    return undefined;
  }

  async #matchesDigest({ pepperId, digest }: StoredSecret, presented: string): Promise<boolean> {
    const pepper = await this.#vault.get(pepperId!);
    return equalInConstantTime(pepper.digest(presented), Buffer.from(digest!, 'base64'));
  }

  /** Remembers failures too: a client that retries with an old secret must not cost a hash each time. */
  async #matchesArgon2id(clientId: string, stored: StoredSecret, presented: Presented): Promise<boolean> {
    const { secretId } = stored;
    const { secret } = presented;
    const memo = createHmac('sha256', this.#processKey).update(`${secretId} ${secret}`).digest('base64');
    // `get`, which makes it young again
    if (this.#right.get(memo)) return true;
    if (this.#wrong.has(memo)) return false;
    const underWay = this.#comparing.get(memo);
    if (underWay) return underWay;
    const comparing = this.#compare(clientId, stored, presented, memo).finally(() => this.#comparing.delete(memo));
    this.#comparing.set(memo, comparing);
    return comparing;
  }

  async #compare(
    clientId: string,
    { argon2id }: StoredSecret,
    { secret, address }: Presented,
    memo: string,
  ): Promise<boolean> {
    const comparison = await this.#admit(clientId, address);
    if (!comparison.admitted) throw new NotCompared(comparison.retryAfterSeconds);
    const matches = await this.#argon2id.verify(argon2id!, secret);
    (matches ? this.#right : this.#wrong).set(memo, true);
    if (matches) await comparison.right();
    return matches;
  }
}
