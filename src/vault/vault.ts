/**
 * Data keys in the database. Each is 32 random bytes, wrapped by the master key; the rows that it protects carry its
 * id. So a change of the master key re-wraps only this small table, and a copy of the database reveals no secret.
 */
import { createHmac, createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { sql } from 'kysely';
import { LRUCache } from 'lru-cache';
import { CannotStart } from '../base/cannot_start.ts';
import { randomId } from '../base/ids.ts';
import type { Digest } from '../base/secret.ts';
import type { Database, Reader, Tx } from '../db/connection.ts';
import type { MasterKey } from './master_key.ts';
import { open, seal } from './seal.ts';

export type Purpose =
  | 'pepper'
  | 'cookies'
  | 'cursors'
  | 'replies'
  | 'dpop_nonces'
  | 'outbox'
  | 'pairwise_subjects'
  | 'totp'
  | 'signing_key';

/** An unwrapped data key. Its bytes stay private: it seals, opens and computes keyed digests. */
export class DataKey {
  readonly id: string;
  readonly #bytes: Buffer;
  /** The same bytes; Node would otherwise import them for each digest, at four times the cost of the digest. */
  readonly #hmacKey: KeyObject;

  constructor(id: string, bytes: Buffer) {
    this.id = id;
    this.#bytes = bytes;
    this.#hmacKey = createSecretKey(bytes);
  }

  seal(plaintext: Buffer, bound: string): Buffer {
    return seal(this.#bytes, plaintext, bound);
  }

  open(box: Buffer, bound: string): Buffer {
    return open(this.#bytes, box, bound);
  }

  /** HMAC-SHA-256, for values whose digest must be useless without this key. */
  digest(value: string): Digest {
    return createHmac('sha256', this.#hmacKey).update(value).digest() as Digest;
  }
}

/** Far more than are in use: each signing key has one, and old signing keys are removed. */
const UNWRAPPED_AT_MOST = 1_000;
/** How long the newest key of a purpose is cached. Older keys can still be read. */
const CURRENT_MILLISECONDS = 60_000;

/** The configured master key is not the one that wrapped this database's keys. */
class WrongMasterKey extends CannotStart {}

export class Vault {
  readonly #database: Database;
  /** The first one wraps and all of them unwrap, so that a change of the master key needs no outage. */
  readonly #masterKeys: readonly MasterKey[];
  readonly #current = new LRUCache<Purpose, string>({ max: 20, ttl: CURRENT_MILLISECONDS });
  readonly #unwrapped = new LRUCache<string, DataKey>({ max: UNWRAPPED_AT_MOST });

  constructor(database: Database, masterKeys: readonly [MasterKey, ...MasterKey[]]) {
    this.#database = database;
    this.#masterKeys = masterKeys;
  }

  /** The newest data key for a purpose that has one current key. One node creates it at its first use. */
  async current(purpose: Exclude<Purpose, 'signing_key'>, now: Date): Promise<DataKey> {
    const known = this.#current.get(purpose);
    if (known) return this.get(known);
    const found = (await this.#newest(this.#database, purpose)) ?? (await this.#createFirst(purpose, now));
    this.#current.set(purpose, found);
    return this.get(found);
  }

  async create(tx: Tx, purpose: Purpose, now: Date): Promise<DataKey> {
    const id = randomId('key');
    const bytes = randomBytes(32);
    const { id: master_key_id } = this.#wrapping;
    const wrapped = this.#wrapping.wrap(bytes, id);
    await tx
      .insertInto('data_keys')
      .values({ data_key_id: id, purpose, master_key_id, wrapped, created_at: now })
      .execute();
    return new DataKey(id, bytes);
  }

  async get(dataKeyId: string): Promise<DataKey> {
    const known = this.#unwrapped.get(dataKeyId);
    if (known) return known;
    const row = await this.#database
      .selectFrom('data_keys')
      .selectAll()
      .where('data_key_id', '=', dataKeyId)
      .executeTakeFirstOrThrow();
    const key = new DataKey(dataKeyId, this.#unwrap(row));
    this.#unwrapped.set(dataKeyId, key);
    return key;
  }

  /**
   * Wraps each data key by the first master key; returns how many another one had wrapped. Throws `WrongMasterKey` and
   * changes nothing if a data key can't be unwrapped.
   */
  async rewrap(): Promise<number> {
    return this.#database.transaction().execute(async (tx) => {
      // in a fixed order, so that concurrent runs don't deadlock
      const rows = await tx.selectFrom('data_keys').selectAll().orderBy('data_key_id').forUpdate().execute();
      const outdated = rows.filter((row) => row.master_key_id !== this.#wrapping.id);
      for (const row of outdated) {
        const wrapped = this.#wrapping.wrap(this.#unwrap(row), row.data_key_id);
        await tx
          .updateTable('data_keys')
          .set({ wrapped, master_key_id: this.#wrapping.id })
          .where('data_key_id', '=', row.data_key_id)
          .execute();
      }
      return outdated.length;
    });
  }

  /** Throws if the database lacks one of these keys, because it was restored to an earlier state. */
  async requireStored(keys: readonly DataKey[]): Promise<void> {
    const ids = keys.map(({ id }) => id);
    const rows = await this.#database
      .selectFrom('data_keys')
      .select('data_key_id')
      .where('data_key_id', 'in', ids)
      .execute();
    const found = new Set(rows.map((row) => row.data_key_id));
    const missing = ids.filter((id) => !found.has(id));
    if (missing.length > 0)
      throw new Error(
        `The database was restored to a state without the data keys that this node uses (${missing.join(', ')}): restart the node.`,
      );
  }

  /**
   * Throws `WrongMasterKey` unless all data keys can be unwrapped, so that a wrong key fails the start and not the
   * first request.
   */
  async verify(): Promise<void> {
    const rows = await this.#database.selectFrom('data_keys').selectAll().execute();
    for (const row of rows) this.#unwrap(row);
  }

  get #wrapping(): MasterKey {
    return this.#masterKeys[0]!;
  }

  #unwrap(row: { data_key_id: string; master_key_id: string; wrapped: Buffer }): Buffer {
    const masterKey = this.#masterKeys.find((key) => key.id === row.master_key_id);
    if (!masterKey) {
      throw new WrongMasterKey(
        'GATEHOUSE_MASTER_KEY is not the key that sealed this database. Set that key again, or set it in GATEHOUSE_MASTER_KEY_PREVIOUS while you change to a new one.',
      );
    }
    return masterKey.unwrap(row.wrapped, row.data_key_id);
  }

  async #newest(reader: Reader, purpose: Purpose): Promise<string | undefined> {
    const row = await reader
      .selectFrom('data_keys')
      .select('data_key_id')
      .where('purpose', '=', purpose)
      .orderBy('created_at', 'desc')
      .limit(1)
      .executeTakeFirst();
    return row?.data_key_id;
  }

  async #createFirst(purpose: Purpose, now: Date): Promise<string> {
    return this.#database.transaction().execute(async (tx) => {
      await sql`select pg_advisory_xact_lock(hashtext('gatehouse.data_keys'))`.execute(tx);
      return (await this.#newest(tx, purpose)) ?? (await this.create(tx, purpose, now)).id;
    });
  }
}
