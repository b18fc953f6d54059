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
}

/** What the library calls of a client's keys: `fresh` and `refresh` once a verification failed, then it verifies again. */
interface KeyStore {
  selectForVerify(options: object): object[];
  fresh(): boolean;
  refresh(): Promise<void>;
  clear(): void;
  add(key: object): void;
}

/** Makes the client's keys come through the guarded way out. A client with registered keys stays as it is. */
export function readKeysThrough({ egress, clock, log }: ClientKeysSettings, client: Client): void {
  const { jwksUri, clientId } = client;
  if (typeof jwksUri !== 'string') return;
  const { asymmetricKeyStore: store } = client as unknown as { asymmetricKeyStore: KeyStore };
  const selectForVerify = store.selectForVerify.bind(store);
  const published = new PublishedKeys(jwksUri, egress, (error) =>
    log.warn({ clientId, error }, 'client_keys.unreadable'),
  );
  Object.assign(store, {
    // none found, and not fresh: the library calls refresh and looks again
    selectForVerify: (options) => (published.areUsable(clock()) ? selectForVerify(options) : []),
    fresh: () => published.wereTried(clock()),
    refresh: async () => {
      await published.refresh(clock());
      store.clear();
      for (const key of published.keys) store.add(key);
    },
  } satisfies Partial<KeyStore>);
}
