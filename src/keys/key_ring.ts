/**
 * The signing keys that this node uses. They are loaded once and replaced together when the invalidation log reports a
 * change.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import type { Vault } from '../vault/vault.ts';
import { Signer } from './signer.ts';
import { loadSigningKeys, type SigningKey } from './signing_key.ts';

export class KeyRing {
  readonly #database: Database;
  readonly #vault: Vault;
  readonly #newest = new LatestWins();
  readonly #onSwap: (() => void)[] = [];
  #keys: readonly SigningKey[] = [];
  #public = new Map<string, { readonly key: KeyObject; readonly alg: string }>();
  #signers = new Map<string, Signer | undefined>();

  constructor(database: Database, vault: Vault) {
    this.#database = database;
    this.#vault = vault;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => loadSigningKeys(this.#database, this.#vault),
      (keys) => this.#replace(keys),
    );
  }

  onSwap(listener: () => void): void {
    this.#onSwap.push(listener);
  }

  /** Private keys in the order in which a signer chooses the first that fits: current, next, previous. */
  get privateJwks(): readonly JWK[] {
    return this.#keys.map((key) => key.privateJwk);
  }

  /** The keys to publish, in the same order. */
  get publicJwks(): readonly JWK[] {
    return this.#keys.map((key) => key.publicJwk);
  }

  /** Returns the signer of the current key; `undefined` if `jose` signs with this algorithm. */
  signer(alg: string): Signer | undefined {
    return this.#signers.get(alg);
  }

  /** Returns the published key with this id, if it is still in use. */
  publicKey(kid: string): { readonly key: KeyObject; readonly alg: string } | undefined {
    return this.#public.get(kid);
  }

  #replace(keys: readonly SigningKey[]): void {
    const unchanged =
      keys.map((key) => key.kid + key.status).join() === this.#keys.map((key) => key.kid + key.status).join();
    if (unchanged) return;
    this.#keys = keys;
    this.#public = new Map(
      keys.map((key) => [key.kid, { key: createPublicKey({ key: key.publicJwk, format: 'jwk' }), alg: key.alg }]),
    );
    this.#signers = new Map(
      keys.filter((key) => key.status === 'current').map((key) => [key.alg, Signer.of(key.privateJwk)]),
    );
    for (const listener of this.#onSwap) listener();
  }
}
