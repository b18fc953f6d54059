/**
 * Compares a presented client secret with the live ones. A server-generated secret needs one keyed digest. An
 * operator's secret needs argon2id, once per secret and process: the result is cached under a key that exists only in
 * this process.
 */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import { equalInConstantTime } from '../base/secret.ts';
import type { Vault } from '../vault/vault.ts';
import { isLive, type ClientWithSecrets, type StoredSecret } from './client.ts';
import { looksGenerated } from './generated_secret.ts';

/** Decides whether this address may cause another hash computation for the client; see limits/secret_guesses.ts. */
export type AdmitComparison = (clientId: string, address: string) => Promise<Comparison>;

type Comparison =
  | { readonly admitted: true; right(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

/** Thrown if the secret was not compared because of the rate limit. */
export class NotCompared extends Error {
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super('Too many secrets were tried for this client.');
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The secret of a request, and its IP address. */
export interface Presented {
  readonly secret: string;
  readonly address: string;
}

export class SecretVerifier {
  readonly #vault: Vault;
  readonly #argon2id: Argon2id;
  readonly #admit: AdmitComparison;
  readonly #processKey = createSecretKey(randomBytes(32));
  readonly #correct = new LRUCache<string, true>({ max: 20_000 });
  /** Separate, so that guesses do not evict correct secrets. */
  readonly #wrong = new LRUCache<string, true>({ max: 5_000 });
  /** Comparisons in progress: the same secret in parallel requests costs and counts as one comparison. */
  readonly #comparing = new Map<string, Promise<boolean>>();

  constructor(vault: Vault, argon2id: Argon2id, admit: AdmitComparison) {
    this.#vault = vault;
    this.#argon2id = argon2id;
    this.#admit = admit;
  }

  /** Returns the live secret that matches, or `undefined`. Throws `NotCompared`. */
  async verify(client: ClientWithSecrets, presented: Presented, now: Date): Promise<StoredSecret | undefined> {
    const isGenerated = looksGenerated(presented.secret);
    for (const secret of client.secrets) {
      if (!isLive(secret, now)) continue;
      if (secret.digest && isGenerated && (await this.#matchesDigest(secret, presented.secret))) return secret;
      if (secret.argon2id && (await this.#matchesArgon2id(client.clientId, secret, presented))) return secret;
    }
    return undefined;
  }

  async #matchesDigest({ pepperId, digest }: StoredSecret, presented: string): Promise<boolean> {
    const pepper = await this.#vault.get(pepperId!);
    return equalInConstantTime(pepper.digest(presented), Buffer.from(digest!, 'base64'));
  }

  /** Caches failures too: a client that retries with an old secret must not cost a hash each time. */
  async #matchesArgon2id(clientId: string, stored: StoredSecret, presented: Presented): Promise<boolean> {
    const { secretId } = stored;
    const { secret } = presented;
    const cacheKey = createHmac('sha256', this.#processKey).update(`${secretId} ${secret}`).digest('base64');
    // `get` also marks the entry as recently used
    if (this.#correct.get(cacheKey)) return true;
    if (this.#wrong.has(cacheKey)) return false;
    const pending = this.#comparing.get(cacheKey);
    if (pending) return pending;
    const comparing = this.#compare(clientId, stored, presented, cacheKey).finally(() =>
      this.#comparing.delete(cacheKey),
    );
    this.#comparing.set(cacheKey, comparing);
    return comparing;
  }

  async #compare(
    clientId: string,
    { argon2id }: StoredSecret,
    { secret, address }: Presented,
    cacheKey: string,
  ): Promise<boolean> {
    const comparison = await this.#admit(clientId, address);
    if (!comparison.admitted) throw new NotCompared(comparison.retryAfterSeconds);
    const matches = await this.#argon2id.verify(argon2id!, secret);
    (matches ? this.#correct : this.#wrong).set(cacheKey, true);
    if (matches) await comparison.right();
    return matches;
  }
}
