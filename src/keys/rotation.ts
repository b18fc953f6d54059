/**
 * Key rotation: `next → current → previous → removed`. A verifier may cache the JWKS for its allowed time, so a key is
 * published for that long before it signs. If two nodes rotate at the same time, the second one waits for the first and
 * then finds the next key too new.
 */
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { conflict, Refused } from '../base/refusal.ts';
import { ALWAYS_SIGNING_ALGS, type SigningAlg } from '../base/signing_algs.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { SYSTEM, type Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { recordChange } from '../invalidation/log.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import type { Vault } from '../vault/vault.ts';
import { lockKeys, removeKeys, TOKEN_TTL_SECONDS_AT_MOST } from './removed_keys.ts';
import { generateKeyMaterial, insertKey, listKeys, type KeyMaterial, type PublicKey } from './signing_key.ts';

export interface RotationSettings {
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly jwksMaxAgeSeconds: number;
  readonly rotationDays: number;
  /** Modulus length of new RSA keys, in bits; existing keys stay unchanged. */
  readonly rsaBits: number;
}

export interface RotationRequest {
  readonly alg: SigningAlg;
  readonly reason: string;
  /** Removes the old key from the JWKS at once: its signatures fail as soon as verifiers fetch the JWKS again. */
  readonly emergency: boolean;
}

export interface Rotated {
  readonly current: PublicKey;
  readonly next: PublicKey;
  /** The key that signed until now; `undefined` after an emergency rotation. */
  readonly previous: PublicKey | undefined;
}

export class KeyRotation {
  readonly #settings: RotationSettings;

  constructor(settings: RotationSettings) {
    this.#settings = settings;
  }

  /** Creates the keys that every server needs: at the first start, and after an upgrade that adds an algorithm. */
  async ensureKeys(now: Date): Promise<void> {
    const { database, trail } = this.#settings;
    const keys = await this.makeMissing(ALWAYS_SIGNING_ALGS);
    if (keys.length > 0) await transact(database, (tx) => this.addIn({ tx, trail, origin: SYSTEM, now }, keys));
  }

  /**
   * Generates keys for the algorithms that have none. This is slow: call it before the transaction that stores them.
   */
  async makeMissing(algs: readonly SigningAlg[]): Promise<readonly NewKeys[]> {
    if (algs.length === 0) return [];
    const keys = await listKeys(this.#settings.database);
    const present = new Set(keys.filter((key) => key.status === 'current').map((key) => key.alg));
    const missing = [...new Set(algs)].filter((alg) => !present.has(alg));
    return Promise.all(
      missing.map(async (alg) => {
        const [current, next] = await Promise.all([this.makeMaterial(alg), this.makeMaterial(alg)]);
        return { alg, current, next };
      }),
    );
  }

  /**
   * Stores new keys in the transaction of the change that needs them. They sign at once: a verifier with an older copy
   * of the JWKS fetches it again for an unknown `kid`.
   */
  async addIn({ tx, trail, origin, now }: UnitOfWork, keys: readonly NewKeys[]): Promise<void> {
    if (keys.length === 0) return;
    await lockKeys(tx);
    for (const { alg, current, next } of keys) {
      if (await find(tx, alg, 'current')) continue;
      await insertKey(tx, this.#settings.vault, { material: current, status: 'current' }, now);
      await insertKey(tx, this.#settings.vault, { material: next, status: 'next' }, now);
      for (const { kid } of [current, next]) {
        await trail.recordIn(tx, origin, { event: 'signing_key.created', outcome: 'success', details: { kid, alg } });
      }
      await recordChange(tx, { topic: 'signing_keys', key: alg }, now);
    }
  }

  /** Generates a key pair for `rotateIn`. This is slow: call it before the transaction. */
  makeMaterial(alg: SigningAlg): Promise<KeyMaterial> {
    return generateKeyMaterial(alg, this.#settings.rsaBits);
  }

  /**
   * Rotates the key of an algorithm on demand. Refuses with `conflict` while verifiers may not have fetched the next
   * key, unless it is an emergency.
   */
  async rotate(request: RotationRequest, origin: Origin, now: Date): Promise<Rotated> {
    const material = await this.makeMaterial(request.alg);
    const { database, trail } = this.#settings;
    return transact(database, (tx) => this.rotateIn({ tx, trail, origin, now }, request, material));
  }

  /** Rotates like `rotate`, in the caller's transaction, with `material` that was generated before it. */
  async rotateIn({ tx, origin, now }: UnitOfWork, request: RotationRequest, material: KeyMaterial): Promise<Rotated> {
    await lockKeys(tx);
    const keys = await this.#pair(tx, request.alg);
    if (!request.emergency) this.#refuseTooNew(keys, now);
    return this.#promote(tx, { ...keys, material, request, origin, now });
  }

  /** Rotates keys that are due and removes keys that no live token needs. Safe to call on any node at any time. */
  async runSchedule(now: Date): Promise<void> {
    for (const key of await listKeys(this.#settings.database)) {
      if (this.#isDue(key, now)) await this.#rotateIfDue(key.alg, now);
    }
    await this.#removeExpired(now);
  }

  async #rotateIfDue(alg: SigningAlg, now: Date): Promise<void> {
    const material = await this.makeMaterial(alg);
    await transact(this.#settings.database, async (tx) => {
      await lockKeys(tx);
      const keys = await this.#pair(tx, alg);
      if (!this.#isDue(keys.current, now) || this.#visibleToVerifiersFrom(keys) > now) return;
      const request = { alg, reason: 'schedule', emergency: false };
      await this.#promote(tx, { ...keys, material, request, origin: SYSTEM, now });
    });
  }

  /** For an emergency: removes all previous keys from the JWKS at once, even if tokens they signed are still live. */
  removePrevious(now: Date): Promise<void> {
    return this.#remove(now, now);
  }

  #removeExpired(now: Date): Promise<void> {
    return this.#remove(addSeconds(now, -(TOKEN_TTL_SECONDS_AT_MOST + this.#settings.jwksMaxAgeSeconds)), now);
  }

  async #remove(before: Date, now: Date): Promise<void> {
    const { database, trail } = this.#settings;
    await transact(database, (tx) =>
      removeKeys({ tx, trail, origin: SYSTEM, now }, (keys) =>
        keys.where('status', '=', 'previous').where('signed_until', '<=', before),
      ),
    );
  }

  #isDue({ status, signsFrom }: PublicKey, now: Date): boolean {
    if (status !== 'current' || !signsFrom) return false;
    return addSeconds(signsFrom, this.#settings.rotationDays * DAY_SECONDS) <= now;
  }

  /**
   * Returns the time from which every cached JWKS contains the next key. If both keys were published together, every
   * copy contains both.
   */
  #visibleToVerifiersFrom({ current, next }: KeyPair): Date {
    if (next.publishedAt <= current.publishedAt) return next.publishedAt;
    return addSeconds(next.publishedAt, this.#settings.jwksMaxAgeSeconds);
  }

  #refuseTooNew(keys: KeyPair, now: Date): void {
    const retryAfterSeconds = Math.ceil((this.#visibleToVerifiersFrom(keys).getTime() - now.getTime()) / 1000);
    if (retryAfterSeconds <= 0) return;
    throw new Refused({
      reason: 'conflict',
      detail: `The next ${keys.next.alg} key is new and verifiers may not have fetched it yet; retry in ${retryAfterSeconds} s, or set emergency to true.`,
      retryAfterSeconds,
    });
  }

  async #pair(tx: Tx, alg: SigningAlg): Promise<KeyPair> {
    const [current, next] = await Promise.all([find(tx, alg, 'current'), find(tx, alg, 'next')]);
    if (!current || !next) throw conflict(`No ${alg} key exists to rotate.`);
    return { current, next };
  }

  async #promote(tx: Tx, { current, next, material, request, origin, now }: Promotion): Promise<Rotated> {
    const { vault, trail } = this.#settings;
    const { alg, reason, emergency } = request;
    if (emergency) {
      const { data_key_id } = await tx
        .deleteFrom('signing_keys')
        .where('kid', '=', current.kid)
        .returning('data_key_id')
        .executeTakeFirstOrThrow();
      await tx.deleteFrom('data_keys').where('data_key_id', '=', data_key_id).execute();
    } else {
      await tx
        .updateTable('signing_keys')
        .set({ status: 'previous', signed_until: now })
        .where('kid', '=', current.kid)
        .execute();
    }
    await tx
      .updateTable('signing_keys')
      .set({ status: 'current', signs_from: now })
      .where('kid', '=', next.kid)
      .execute();
    await insertKey(tx, vault, { material, status: 'next' }, now);
    const details = { kid: next.kid, alg, previous: current.kid, next: material.kid, reason, emergency };
    await trail.recordIn(tx, origin, { event: 'signing_key.rotated', outcome: 'success', details });
    await recordChange(tx, { topic: 'signing_keys', key: alg }, now);
    return {
      current: { ...next, status: 'current', signsFrom: now },
      next: {
        ...material,
        status: 'next',
        createdAt: now,
        publishedAt: now,
        signsFrom: null,
        signedUntil: null,
      },
      previous: emergency ? undefined : { ...current, status: 'previous', signedUntil: now },
    };
  }
}

/** The first two keys of an algorithm. */
export interface NewKeys {
  readonly alg: SigningAlg;
  readonly current: KeyMaterial;
  readonly next: KeyMaterial;
}

interface KeyPair {
  readonly current: PublicKey;
  readonly next: PublicKey;
}

interface Promotion extends KeyPair {
  readonly material: KeyMaterial;
  readonly request: RotationRequest;
  readonly origin: Origin;
  readonly now: Date;
}

async function find(tx: Tx, alg: SigningAlg, status: 'current' | 'next'): Promise<PublicKey | undefined> {
  return (await listKeys(tx)).find((key) => key.alg === alg && key.status === status);
}
