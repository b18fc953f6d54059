/**
 * Checks a presented client secret against the live ones. For secrets made here that is one keyed digest; argon2id,
 * for the ones that operators chose, runs once per secret and process: a pass is remembered under a key that never
 * leaves this process.
 */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Argon2id } from '../base/argon2id.ts';
import { equalInConstantTime } from '../base/secret.ts';
import type { Vault } from '../vault/vault.ts';
import { isLive, type ClientWithSecrets, type StoredSecret } from './client.ts';
import { looksServerMade } from './server_made_secret.ts';

export class SecretVerifier {
  readonly #vault: Vault;
  readonly #argon2id: Argon2id;
  readonly #mayCompare: (clientId: string) => Promise<boolean>;
  readonly #processKey = createSecretKey(randomBytes(32));
  readonly #answers = new LRUCache<string, boolean>({ max: 10_000 });

  /** `mayCompare` says whether a client may cost another hash; see limits/secret_guesses.ts. */
  constructor(vault: Vault, argon2id: Argon2id, mayCompare: (clientId: string) => Promise<boolean>) {
    this.#vault = vault;
    this.#argon2id = argon2id;
    this.#mayCompare = mayCompare;
  }

  /** The live secret that the presented one is, or `undefined`. */
  async verify(client: ClientWithSecrets, presented: string, now: Date): Promise<StoredSecret | undefined> {
    const serverMade = looksServerMade(presented);
    for (const secret of client.secrets) {
      if (!isLive(secret, now)) continue;
      if (secret.digest && serverMade && (await this.#matchesDigest(secret, presented))) return secret;
      if (secret.argon2id && (await this.#matchesArgon2id(client.clientId, secret, presented))) return secret;
    }
    return undefined;
  }

  async #matchesDigest({ pepperId, digest }: StoredSecret, presented: string): Promise<boolean> {
    const pepper = await this.#vault.get(pepperId!);
    return equalInConstantTime(pepper.digest(presented), digest!);
  }

  /** Remembers failures too: a client that retries with an old secret must not cost a hash each time. */
  async #matchesArgon2id(clientId: string, { secretId, argon2id }: StoredSecret, presented: string): Promise<boolean> {
    const memo = createHmac('sha256', this.#processKey).update(`${secretId} ${presented}`).digest('base64');
    const remembered = this.#answers.get(memo);
    if (remembered !== undefined) return remembered;
    if (!(await this.#mayCompare(clientId))) return false;
    const matches = await this.#argon2id.verify(argon2id!, presented);
    this.#answers.set(memo, matches);
    return matches;
  }
}
