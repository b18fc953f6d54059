/**
 * From where people have logged in to an account: networks, and browsers that carry our cookie. Kept as keyed digests
 * for a bounded time, the latest of each account only. Only a right password adds to them.
 */
import { sql } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';

/** Since the last login from there. */
export const KNOWN_LOGIN_SECONDS = 90 * DAY_SECONDS;
const PLACES_OF_AN_ACCOUNT_AT_MOST = 20;

export class KnownLogins {
  readonly #database: Database;
  readonly #digest: (text: string) => Digest;

  constructor(database: Database, digest: (text: string) => Digest) {
    this.#database = database;
    this.#digest = digest;
  }

  /** Those of the places from which the account was logged in to before. */
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
