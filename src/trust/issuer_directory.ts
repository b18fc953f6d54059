/** All trusted issuers in memory, with their keys. The invalidation log names changed ones. */
import { createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import type { Egress } from '../egress/egress.ts';
import type { Logger } from '../log.ts';
import { PublishedKeys, type Keys } from './published_keys.ts';
import { readTrustedIssuers, type TrustedIssuer } from './trusted_issuer.ts';

export interface IssuerDirectorySettings {
  readonly database: Database;
  readonly egress: Pick<Egress, 'get' | 'last'>;
  readonly log: Logger;
}

export type KeySet = ReturnType<typeof createLocalJWKSet>;

export interface KnownIssuer {
  readonly trusted: TrustedIssuer;
  readonly keys: IssuerKeys;
}

export class IssuerDirectory {
  readonly #settings: IssuerDirectorySettings;
  readonly #newest = new LatestWins();
  #issuers: ReadonlyMap<string, KnownIssuer> = new Map();

  constructor(settings: IssuerDirectorySettings) {
    this.#settings = settings;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => readTrustedIssuers(this.#settings.database),
      (issuers) => {
        this.#issuers = new Map(issuers.map((trusted) => [trusted.issuer, { trusted, keys: this.#keysOf(trusted) }]));
      },
    );
  }

  get(issuer: string): KnownIssuer | undefined {
    return this.#issuers.get(issuer);
  }

  /** True if the issuer is registered and not disabled. */
  isTrusted(issuer: string): boolean {
    return this.#issuers.get(issuer)?.trusted.disabledAt === null;
  }

  #keysOf({ issuer, jwks, jwksUri }: TrustedIssuer): IssuerKeys {
    if (jwksUri === undefined) return new IssuerKeys(jwks?.keys ?? []);
    const { egress, log } = this.#settings;
    return new IssuerKeys(
      new PublishedKeys(
        jwksUri,
        egress,
        (error) => log.warn({ issuer, error }, 'issuer_keys.unreadable'),
        () => ({ vetted: true }),
      ),
    );
  }
}

/** The keys of one issuer: registered by an admin, or published at `jwks_uri`. */
export class IssuerKeys {
  readonly #source: Keys | PublishedKeys;
  #keys: Keys = [];
  #set: KeySet | undefined;

  constructor(source: Keys | PublishedKeys) {
    this.#source = source;
  }

  /** Resolves to `undefined` if no usable keys can be fetched. */
  async current(now: Date): Promise<KeySet | undefined> {
    const source = this.#source;
    if (!(source instanceof PublishedKeys)) return this.#setOf(source);
    if (!source.areUsable(now) && !source.wereTriedRecently(now)) await source.refresh(now);
    return source.areUsable(now) ? this.#setOf(source.keys) : undefined;
  }

  /** True if no keys can be fetched for a temporary reason. */
  areUnavailable(now: Date): boolean {
    return this.#source instanceof PublishedKeys && this.#source.areUnavailable(now);
  }

  /** Fetches newer keys after a signature did not verify; `undefined` if it is too early or there are none. */
  async newer(now: Date): Promise<KeySet | undefined> {
    const source = this.#source;
    if (!(source instanceof PublishedKeys) || source.wereTriedRecently(now)) return undefined;
    await source.refresh(now);
    return source.areUsable(now) ? this.#setOf(source.keys) : undefined;
  }

  #setOf(keys: Keys): KeySet {
    if (!this.#set || this.#keys !== keys) {
      this.#keys = keys;
      this.#set = createLocalJWKSet({ keys: [...keys] } as JSONWebKeySet);
    }
    return this.#set;
  }
}
