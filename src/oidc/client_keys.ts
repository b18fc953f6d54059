/**
 * Keys that a client publishes itself (`jwks_uri`). Left alone, the library reads them again only when a verification
 * fails, so a key that the client withdrew would work for as long as nobody used another one; and it believes any
 * max-age, so one of a year would keep a new key out for a year. Here keys that have outlived their max-age are read
 * again before they are used, and a verification that fails may ask for newer ones every 30 seconds.
 */
import type { Client } from 'oidc-provider';
import { z } from 'zod';
import { addSeconds, type Clock } from '../base/clock.ts';
import { PublicJwk } from '../clients/metadata/public_jwk.ts';
import type { Egress } from '../egress/egress.ts';
import { EgressFailed } from '../egress/failure.ts';
import type { Answer } from '../egress/memory.ts';
import type { Logger } from '../log.ts';

export interface ClientKeysSettings {
  readonly egress: Pick<Egress, 'get' | 'last'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** The digest of the certificate that came with the request under way, where one did. */
  readonly presented: () => string | undefined;
}

/** An unknown `kid` or a bad signature makes us look for newer keys, but not more often than this. */
const NEWER_AFTER_SECONDS = 30;
const RETRY_AFTER_SECONDS = 10;
/** While the client's server does not answer, the keys it gave last are used for this long at most. */
const OUTAGE_SECONDS = 3_600;

/**
 * What the library calls of a client's keys: `fresh` and `refresh` once a verification failed, then it verifies again.
 * For a client with a self-signed certificate it calls `refresh` each time, and goes through them all.
 */
interface KeyStore {
  [Symbol.iterator](): Iterator<{ readonly 'x5t#S256'?: string }>;
  selectForVerify(options: object): object[];
  fresh(): boolean;
  refresh(): Promise<void>;
  clear(): void;
  add(key: object): void;
}

const KeySet = z.object({ keys: z.array(z.unknown()).max(100) });
const LONG_AGO = new Date(0);

/** Makes the client's keys come through the guarded way out. A client with registered keys stays as it is. */
export function readKeysThrough({ egress, clock, log, presented }: ClientKeysSettings, client: Client): void {
  const { jwksUri, clientId } = client;
  if (typeof jwksUri !== 'string') return;
  const { asymmetricKeyStore: store } = client as unknown as { asymmetricKeyStore: KeyStore };
  const selectForVerify = store.selectForVerify.bind(store);
  const all = store[Symbol.iterator].bind(store);
  let fetchedAt = LONG_AGO;
  let usableUntil = LONG_AGO;
  let triedUntil = LONG_AGO;

  const take = (answer: Answer): void => {
    const keys = publicKeysIn(answer.body);
    store.clear();
    for (const key of keys) store.add(key);
    fetchedAt = answer.fetchedAt;
  };
  const holds = (digest: string | undefined): boolean =>
    digest !== undefined && Iterator.from({ [Symbol.iterator]: all }).some((key) => key['x5t#S256'] === digest);
  const read = async (now: Date): Promise<void> => {
    // keys that are usable and yet did not verify: only newer ones can help
    const newer = now < usableUntil ? { fetchedSince: addSeconds(now, -NEWER_AFTER_SECONDS) } : {};
    const answer = await egress.get(jwksUri, newer);
    take(answer);
    usableUntil = answer.freshUntil;
    triedUntil = addSeconds(fetchedAt, NEWER_AFTER_SECONDS);
  };
  const outlast = (now: Date, error: unknown): void => {
    // what the way out refused or could not reach is in the log already
    if (!(error instanceof EgressFailed)) log.warn({ clientId, error }, 'client_keys.unreadable');
    triedUntil = addSeconds(now, RETRY_AFTER_SECONDS);
    // a client that was changed meanwhile starts without keys
    const last = fetchedAt === LONG_AGO ? egress.last(jwksUri) : undefined;
    if (last) take(last);
    const lastUse = addSeconds(fetchedAt, OUTAGE_SECONDS);
    if (usableUntil < triedUntil) usableUntil = triedUntil < lastUse ? triedUntil : lastUse;
  };

  Object.assign(store, {
    // none found, and not fresh: the library calls refresh and looks again
    selectForVerify: (options) => (clock() < usableUntil ? selectForVerify(options) : []),
    [Symbol.iterator]: () => (clock() < usableUntil ? all() : [].values()),
    fresh: () => clock() < triedUntil,
    refresh: async () => {
      const now = clock();
      if (now < triedUntil || (now < usableUntil && holds(presented()))) return;
      await read(now).catch((error: unknown) => outlast(now, error));
    },
  } satisfies Partial<KeyStore>);
}

/** The keys of the set that can be used; others (of a type we don't know, or private by mistake) are left out. */
function publicKeysIn(body: Buffer): object[] {
  const { keys } = KeySet.parse(JSON.parse(body.toString('utf8')));
  return keys.flatMap((key) => PublicJwk.safeParse(key).data ?? []);
}
