/**
 * Keys of algorithms that nothing uses any more. Keys for all but two algorithms are made for a resource or a client;
 * when the last one is gone, the keys stay until the last token that they signed has expired, and are then removed.
 */
import { sql } from 'kysely';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { addSeconds } from '../base/clock.ts';
import { ALWAYS_SIGNING_ALGS, RESPONSE_ALG_MEMBERS, type SigningAlg } from '../base/signing_algs.ts';
import type { Database, Reader, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { lockKeys, removeKeys, TOKEN_TTL_SECONDS_AT_MOST } from './removed_keys.ts';
import { listKeys } from './signing_key.ts';

/**
 * Keeps the keys of these algorithms for a resource or client that the transaction stores. Returns the algorithms that
 * have no keys. Waits for a node that is just removing keys, so call it after `KeyRotation.addIn`.
 */
export async function keepSigningKeys(tx: Tx, algs: readonly SigningAlg[]): Promise<ReadonlySet<SigningAlg>> {
  const wanted = [...new Set(algs)].filter((alg) => !ALWAYS_SIGNING_ALGS.includes(alg));
  if (wanted.length === 0) return new Set();
  await tx.deleteFrom('unused_signing_algs').where('alg', 'in', wanted).execute();
  const rows = await tx
    .selectFrom('signing_keys')
    .select('alg')
    .where('alg', 'in', wanted)
    .where('status', '=', 'current')
    .execute();
  const present = new Set(rows.map(({ alg }) => alg));
  return new Set(wanted.filter((alg) => !present.has(alg)));
}

export interface UnusedKeysSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly jwksMaxAgeSeconds: number;
}

export class UnusedKeys {
  readonly #settings: UnusedKeysSettings;
  /** A client that used the algorithm when this node last looked: to find one reads all clients in the worst case. */
  readonly #knownUsers = new Map<SigningAlg, string>();

  constructor(settings: UnusedKeysSettings) {
    this.#settings = settings;
  }

  /** Notes which algorithms nothing uses, and removes the keys of those that were not used for long enough. */
  async remove(now: Date): Promise<void> {
    const { database } = this.#settings;
    const algs = new Set((await listKeys(database)).map(({ alg }) => alg));
    for (const alg of ALWAYS_SIGNING_ALGS) algs.delete(alg);
    if (algs.size === 0) return;
    const unused = await database.selectFrom('unused_signing_algs').selectAll().execute();
    for (const alg of algs) {
      const since = unused.find((row) => row.alg === alg)?.since;
      if (await this.#isKnownAsUsed(alg)) {
        if (since) await database.deleteFrom('unused_signing_algs').where('alg', '=', alg).execute();
      } else if (!since) await this.#noteIfUnused(alg, now);
      else if (since <= this.#lastNeeded(now)) await this.#removeIfUnused(alg, now);
    }
  }

  /** Tokens of a key that was last used at this time have expired, and verifiers may have fetched the JWKS since. */
  #lastNeeded(now: Date): Date {
    return addSeconds(now, -(TOKEN_TTL_SECONDS_AT_MOST + this.#settings.jwksMaxAgeSeconds));
  }

  async #isKnownAsUsed(alg: SigningAlg): Promise<boolean> {
    const { database } = this.#settings;
    if (await hasResource(database, alg)) return true;
    const known = this.#knownUsers.get(alg);
    return known !== undefined && (await findClient(database, alg, known)) !== undefined;
  }

  async #noteIfUnused(alg: SigningAlg, now: Date): Promise<void> {
    const { database } = this.#settings;
    const client = await findClient(database, alg);
    if (client !== undefined) {
      this.#knownUsers.set(alg, client);
      return;
    }
    await database
      .insertInto('unused_signing_algs')
      .values({ alg, since: now })
      .onConflict((clash) => clash.doNothing())
      .execute();
  }

  async #removeIfUnused(alg: SigningAlg, now: Date): Promise<void> {
    const { database, trail } = this.#settings;
    await transact(database, async (tx) => {
      await lockKeys(tx);
      const { numDeletedRows } = await tx
        .deleteFrom('unused_signing_algs')
        .where('alg', '=', alg)
        .where('since', '<=', this.#lastNeeded(now))
        .executeTakeFirst();
      if (numDeletedRows === 0n || (await hasResource(tx, alg)) || (await findClient(tx, alg)) !== undefined) return;
      await removeKeys({ tx, trail, origin: SYSTEM, now }, (keys) => keys.where('alg', '=', alg));
    });
  }
}

async function hasResource(reader: Reader, alg: SigningAlg): Promise<boolean> {
  const row = await reader
    .selectFrom('resources')
    .select('identifier')
    .where('signing_alg', '=', alg)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Returns the id of a client that wants something signed with the algorithm; of `clientId` alone, if it is given. */
async function findClient(reader: Reader, alg: SigningAlg, clientId?: string): Promise<string | undefined> {
  const values = RESPONSE_ALG_MEMBERS.map((member) => sql<string>`metadata->>${sql.lit(member)}`);
  let clients = reader
    .selectFrom('clients')
    .select('client_id')
    .where(sql<boolean>`${alg} in (${sql.join(values)})`)
    .limit(1);
  if (clientId !== undefined) clients = clients.where('client_id', '=', clientId);
  return (await clients.executeTakeFirst())?.client_id;
}
