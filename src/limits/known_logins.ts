/**
 * The places of earlier logins to an account: networks, and browsers with our cookie. Stored as keyed digests for a
 * limited time, only the latest for each account. Only a right password adds one.
 */
import { sql } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';

/** Counted from the last login at that place. */
export const KNOWN_LOGIN_SECONDS = 90 * DAY_SECONDS;
const PLACES_OF_AN_ACCOUNT_AT_MOST = 20;

export class KnownLogins {
  readonly #database: Database;
  readonly #digest: (text: string) => Digest;

  constructor(database: Database, digest: (text: string) => Digest) {
    this.#database = database;
    this.#digest = digest;
  }

  /** Returns the places at which an earlier login to the account succeeded. */
  async among<Place extends string>(account: string, places: readonly Place[], now: Date): Promise<readonly Place[]> {
    const digests = places.map((place) => this.#place(place));
    const rows = await this.#database
      .selectFrom('known_logins')
      .select('place')
      .where('account', '=', this.#account(account))
      .where('place', 'in', digests)
      .where('expires_at', '>', now)
      .execute();
    return places.filter((_, index) => rows.some(({ place }) => place.equals(digests[index]!)));
  }

  /** Whether earlier logins to the account are known, and none of them was at one of these places. */
  async areNew(account: string, places: readonly string[], now: Date): Promise<boolean> {
    const digests = places.map((place) => this.#place(place));
    const known = await this.#database
      .selectFrom('known_logins')
      .select('place')
      .where('account', '=', this.#account(account))
      .where('expires_at', '>', now)
      .execute();
    return known.length > 0 && !known.some(({ place }) => digests.some((digest) => digest.equals(place)));
  }

  async remember(account: string, places: readonly string[], now: Date): Promise<void> {
    const key = this.#account(account);
    const rows = places
      .map((place) => ({ account: key, place: this.#place(place), expires_at: addSeconds(now, KNOWN_LOGIN_SECONDS) }))
      .toSorted((a, b) => Buffer.compare(a.place, b.place));
    await transact(this.#database, async (tx) => {
      await tx
        .insertInto('known_logins')
        .values(rows)
        .onConflict((conflict) =>
          conflict.columns(['account', 'place']).doUpdateSet((eb) => ({ expires_at: eb.ref('excluded.expires_at') })),
        )
        .execute();
      await sql`delete from known_logins where account = ${key} and place in (select place from known_logins
        where account = ${key} order by expires_at desc offset ${PLACES_OF_AN_ACCOUNT_AT_MOST})`.execute(tx);
    });
  }

  #account(account: string): Digest {
    return this.#digest(`known account ${account}`);
  }

  #place(place: string): Digest {
    return this.#digest(`known place ${place}`);
  }
}
