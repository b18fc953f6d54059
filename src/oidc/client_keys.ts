/**
 * Keys that a client publishes itself (`jwks_uri`). Left alone, the library reads them again only when a verification
 * fails, so a key that the client withdrew would work for as long as nobody used another one; and it believes any
 * max-age, so one of a year would keep a new key out for a year. Here they are read as those of any other signer are
 * (trust/published_keys.ts).
 */
import type { Client } from 'oidc-provider';
import type { Clock } from '../base/clock.ts';
import type { Egress } from '../egress/egress.ts';
import type { Logger } from '../log.ts';
import { PublishedKeys } from '../trust/published_keys.ts';

export interface ClientKeysSettings {
  readonly egress: Pick<Egress, 'get' | 'last'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** The digest of the certificate that came with the request under way, where one did. */
  readonly presented: () => string | undefined;
}

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

/** Makes the client's keys come through the guarded way out. A client with registered keys stays as it is. */
export function readKeysThrough({ egress, clock, log, presented }: ClientKeysSettings, client: Client): void {
  const { jwksUri, clientId } = client;
  if (typeof jwksUri !== 'string') return;
  const { asymmetricKeyStore: store } = client as unknown as { asymmetricKeyStore: KeyStore };
  const selectForVerify = store.selectForVerify.bind(store);
  const all = store[Symbol.iterator].bind(store);
  const published = new PublishedKeys(jwksUri, egress, (error) =>
    log.warn({ clientId, error }, 'client_keys.unreadable'),
  );
  const holds = (digest: string | undefined): boolean =>
    digest !== undefined && Iterator.from({ [Symbol.iterator]: all }).some((key) => key['x5t#S256'] === digest);
  Object.assign(store, {
    // none found, and not fresh: the library calls refresh and looks again
    selectForVerify: (options) => (published.areUsable(clock()) ? selectForVerify(options) : []),
    [Symbol.iterator]: () => (published.areUsable(clock()) ? all() : [].values()),
    fresh: () => published.wereTried(clock()),
    refresh: async () => {
      const now = clock();
      if (published.wereTried(now) || (published.areUsable(now) && holds(presented()))) return;
      await published.refresh(now);
      store.clear();
      for (const key of published.keys) store.add(key);
    },
  } satisfies Partial<KeyStore>);
}
