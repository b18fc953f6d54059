/**
 * Rotation: `next → current → previous → gone`. A verifier that keeps our JWKS for its allowed time must find every
 * key that signs in the copy it holds, so a key is published for that long before it signs. Two nodes that rotate at
 * the same moment make one rotation: the second one waits for the first and then finds the next key too young.
 */
import { sql } from 'kysely';
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
import { generateKeyMaterial, insertKey, listKeys, type KeyMaterial, type PublicKey } from './signing_key.ts';

/** No token lives longer than this (see resources), so a key that last signed so long ago has nothing left to verify. */
const LONGEST_TOKEN_SECONDS = DAY_SECONDS;

export interface RotationSettings {
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly jwksMaxAgeSeconds: number;
  readonly rotationDays: number;
  /** How long the modulus of an RSA key is that is made from now on; those that there are stay as they are. */
  readonly rsaBits: number;
}

export interface RotationRequest {
  readonly alg: SigningAlg;
  readonly reason: string;
  /** The old key leaves JWKS at once: what it signed fails to verify as soon as verifiers look again. */
  readonly emergency: boolean;
}

export interface Rotated {
  readonly current: PublicKey;
  readonly next: PublicKey;
  /** The key that signed until now: `undefined` after an emergency. */
  readonly previous: PublicKey | undefined;
}

export class KeyRotation {
  readonly #settings: RotationSettings;

  constructor(settings: RotationSettings) {
    this.#settings = settings;
  }

  /** Makes the keys that every server has: on the first start, and after an upgrade that adds an algorithm to them. */
  async ensureKeys(now: Date): Promise<void> {
    const { database, trail } = this.#settings;
    const keys = await this.makeMissing(ALWAYS_SIGNING_ALGS);
    if (keys.length > 0) await transact(database, (tx) => this.addIn({ tx, trail, origin: SYSTEM, now }, keys));
  }

  /** Keys for the algorithms that have none. They take a while to make: call it before the transaction that adds them. */
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
   * Puts new keys in force together with what they are for. They sign at once: who verifies has no copy of our JWKS
   * that could be expected to hold them, and asks again for a `kid` that it doesn't know.
   */
  async addIn({ tx, trail, origin, now }: UnitOfWork, keys: readonly NewKeys[]): Promise<void> {
    if (keys.length === 0) return;
    await lock(tx);
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

  /** A key pair for `rotateIn`. It takes a while to make: call it before the transaction. */
  makeMaterial(alg: SigningAlg): Promise<KeyMaterial> {
    return generateKeyMaterial(alg, this.#settings.rsaBits);
  }

  /** On demand. Refuses with `conflict` while verifiers may not have seen the next key yet, unless it is an emergency. */
  async rotate(request: RotationRequest, origin: Origin, now: Date): Promise<Rotated> {
    const material = await this.makeMaterial(request.alg);
    const { database, trail } = this.#settings;
    return transact(database, (tx) => this.rotateIn({ tx, trail, origin, now }, request, material));
  }

  /** The same as part of the caller's transaction; `material` takes a while to make and was made before it. */
  async rotateIn({ tx, origin, now }: UnitOfWork, request: RotationRequest, material: KeyMaterial): Promise<Rotated> {
    await lock(tx);
    const keys = await this.#pair(tx, request.alg);
    if (!request.emergency) this.#refuseUnknownToVerifiers(keys, now);
    return this.#promote(tx, { ...keys, material, request, origin, now });
  }

  /** On schedule: rotates what is due and drops what no living token needs. Call it on any node, as often as you like. */
  async runSchedule(now: Date): Promise<void> {
    for (const key of await listKeys(this.#settings.database)) {
      if (this.#isDue(key, now)) await this.#rotateIfDue(key.alg, now);
    }
    await this.#removeExpired(now);
  }

  async #rotateIfDue(alg: SigningAlg, now: Date): Promise<void> {
    const material = await this.makeMaterial(alg);
    await transact(this.#settings.database, async (tx) => {
      await lock(tx);
      const keys = await this.#pair(tx, alg);
      if (!this.#isDue(keys.current, now) || this.#visibleToAllFrom(keys) > now) return;
      const request = { alg, reason: 'schedule', emergency: false };
      await this.#promote(tx, { ...keys, material, request, origin: SYSTEM, now });
    });
  }

  /** In an emergency: keys that sign no more leave JWKS at once, whatever they have signed. */
  removePrevious(now: Date): Promise<void> {
    return this.#remove(now, now);
  }

  #removeExpired(now: Date): Promise<void> {
    return this.#remove(addSeconds(now, -(LONGEST_TOKEN_SECONDS + this.#settings.jwksMaxAgeSeconds)), now);
  }

  async #remove(before: Date, now: Date): Promise<void> {
    const { database, trail } = this.#settings;
    await transact(database, async (tx) => {
      const removed = await tx
        .deleteFrom('signing_keys')
        .where('status', '=', 'previous')
        .where('signed_until', '<=', before)
        .returning(['kid', 'alg', 'data_key_id'])
        .execute();
      for (const { kid, alg, data_key_id } of removed) {
        await tx.deleteFrom('data_keys').where('data_key_id', '=', data_key_id).execute();
        await trail.recordIn(tx, SYSTEM, { event: 'signing_key.removed', outcome: 'success', details: { kid, alg } });
        await recordChange(tx, { topic: 'signing_keys', key: alg }, now);
      }
    });
  }

  #isDue({ status, signsFrom }: PublicKey, now: Date): boolean {
    if (status !== 'current' || !signsFrom) return false;
    return addSeconds(signsFrom, this.#settings.rotationDays * DAY_SECONDS) <= now;
  }

  /** From when every cached copy of our JWKS holds the next key. Keys published together were never apart in any copy. */
  #visibleToAllFrom({ current, next }: KeyPair): Date {
    if (next.publishedAt <= current.publishedAt) return next.publishedAt;
    return addSeconds(next.publishedAt, this.#settings.jwksMaxAgeSeconds);
  }

  #refuseUnknownToVerifiers(keys: KeyPair, now: Date): void {
    const retryAfterSeconds = Math.ceil((this.#visibleToAllFrom(keys).getTime() - now.getTime()) / 1000);
    if (retryAfterSeconds <= 0) return;
    throw new Refused({
      reason: 'conflict',
      detail: `The next ${keys.next.alg} key was published a moment ago and verifiers may not have seen it; rotate again in ${retryAfterSeconds} s, or make it an emergency.`,
      retryAfterSeconds,
    });
  }

  async #pair(tx: Tx, alg: SigningAlg): Promise<KeyPair> {
    const [current, next] = await Promise.all([find(tx, alg, 'current'), find(tx, alg, 'next')]);
    if (!current || !next) throw conflict(`There is no ${alg} key to rotate.`);
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

/** What an algorithm begins with. */
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

/** Rotations wait for one another; everything else goes on. */
async function lock(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.signing_keys'))`.execute(tx);
}

async function find(tx: Tx, alg: SigningAlg, status: 'current' | 'next'): Promise<PublicKey | undefined> {
  return (await listKeys(tx)).find((key) => key.alg === alg && key.status === status);
}
