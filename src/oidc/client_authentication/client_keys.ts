/**
 * The keys that verify a client's signatures. An unauthenticated sender may name any client, so the work per request is
 * limited: the server tries few keys, none that is expensive to verify with, and runs few verifications at once.
 *
 * Keys that a client publishes itself (`jwks_uri`): the library alone reads them again only when a verification fails,
 * so a key that the client has withdrawn would remain valid until another key is used; and it accepts any max-age, so a
 * max-age of a year would delay a new key by a year. Here they are read in the same way as the keys of a trusted issuer
 * (trust/published_keys.ts).
 */
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import type { Clock } from '../../base/clock.ts';
import { Unavailable } from '../../base/unavailable.ts';
import { isAcceptedSize } from '../../clients/metadata/public_jwk.ts';
import type { Egress, GetOptions } from '../../egress/egress.ts';
import { refusalHeaders } from '../../http/admission.ts';
import { requestOf } from '../../http/request_context.ts';
import { networkOf } from '../../limits/rate_limit_key.ts';
import type { Verifications } from '../../limits/verifications.ts';
import type { Logger } from '../../log.ts';
import { PublishedKeys } from '../../trust/published_keys.ts';
import { TooManyRequests } from './client_rate_limit.ts';
import { keyStoreOf, type KeyStore } from '../provider/library_types.ts';

export interface ClientKeysSettings {
  readonly egress: Pick<Egress, 'get' | 'last'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly verifications: Verifications;
  /** The digest of the certificate of the current request, if it has one. */
  readonly presented: () => string | undefined;
  /**
   * True for a client that an admin created. The keys of a self-registered client are fetched with the limits for
   * untrusted URLs.
   */
  readonly vetted: boolean;
  /** When the client was registered: keys that were fetched before, for another client, are not used. */
  readonly registeredAt: Date;
}

/**
 * The number of keys that match the header's `alg` and `kid`. If there are more, the header must have a `kid` that
 * selects one.
 */
const KEYS_TRIED_AT_MOST = 4;

/**
 * Too many keys match. The library answers with this error, or with a failed client authentication that has it as its
 * cause.
 */
class KeyNotNamed extends errors.InvalidRequestObject {
  constructor() {
    super(
      `more than ${KEYS_TRIED_AT_MOST} keys of the client match the signature: set kid in the header, and give each key a unique kid`,
    );
  }
}

/** Limits the work with the client's keys, and fetches published keys through `egress`. */
export function guardKeys(settings: ClientKeysSettings, client: Client): void {
  const store = keyStoreOf(client);
  if (typeof client.jwksUri === 'string') readKeysThrough(settings, client, client.jwksUri, store);
  const selectForVerify = store.selectForVerify.bind(store);
  store.selectForVerify = (options) => {
    // keys that were registered before key sizes were limited are never tried
    const fitting = selectForVerify(options).filter((key) => isAcceptedSize({ ...key }));
    if (fitting.length > KEYS_TRIED_AT_MOST) throw new KeyNotNamed();
    if (fitting.length > 0) countVerification(settings.verifications, client);
    return fitting;
  };
}

/** Requests that are already counted: the library selects keys again after it has refreshed them. */
const counted = new WeakSet<object>();

function countVerification(verifications: Verifications, { clientId }: Client): void {
  const { ctx } = Provider;
  if (!ctx || counted.has(ctx.req)) return;
  const end = verifications.begin(clientId, requestOf(ctx).address);
  if (!end) {
    const refusal = { status: 429, retryAfterSeconds: 1 } as const;
    ctx.set(refusalHeaders(refusal));
    throw new TooManyRequests(refusal);
  }
  counted.add(ctx.req);
  ctx.res.once('close', end);
}

function readKeysThrough(
  { egress, clock, log, presented, vetted, registeredAt }: ClientKeysSettings,
  { clientId }: Client,
  jwksUri: string,
  store: KeyStore,
): void {
  const selectForVerify = store.selectForVerify.bind(store);
  const all = store[Symbol.iterator].bind(store);
  const optionsOf = (): GetOptions => ({
    vetted,
    asker: vetted ? undefined : askerOf(Provider.ctx),
    fetchedSince: registeredAt,
  });
  const published = new PublishedKeys(
    jwksUri,
    egress,
    (error) => log.warn({ clientId, error }, 'client_keys.unreadable'),
    optionsOf,
  );
  const demandRead = (): void => {
    // the client can't be authenticated at the moment, and has to retry
    if (published.areUnavailable(clock()))
      throw new Unavailable(`The keys of ${clientId} can't be fetched at the moment.`);
  };
  const holds = (digest: string | undefined): boolean =>
    digest !== undefined && Iterator.from({ [Symbol.iterator]: all }).some((key) => key['x5t#S256'] === digest);
  Object.assign(store, {
    // returning no key while not fresh makes the library call refresh and select again
    selectForVerify: (options) => {
      if (published.areUsable(clock())) return selectForVerify(options);
      if (published.wereTriedRecently(clock())) demandRead();
      return [];
    },
    [Symbol.iterator]: () => (published.areUsable(clock()) ? all() : [].values()),
    fresh: () => published.wereTriedRecently(clock()),
    refresh: async () => {
      const now = clock();
      if (published.wereTriedRecently(now) || (published.areUsable(now) && holds(presented()))) return;
      await published.refresh(now);
      store.clear();
      for (const key of published.keys) store.add(key);
    },
  } satisfies Partial<KeyStore>);
}

function askerOf(ctx: KoaContextWithOIDC | undefined): string | undefined {
  return ctx && networkOf(requestOf(ctx).address);
}

/**
 * Corrects the library's answer to a key error. The library answers every failed verification of a client assertion
 * with `invalid_client`, without saying that too many verifications run or that the header needs a `kid`.
 */
export function answerKeyObjection(ctx: KoaContextWithOIDC, cause: unknown): void {
  if (cause instanceof TooManyRequests) ctx.status = cause.statusCode;
  if (!(cause instanceof TooManyRequests || cause instanceof KeyNotNamed)) return;
  const error = cause instanceof TooManyRequests ? cause.error : 'invalid_client';
  ctx.body = { error, error_description: cause.error_description };
}
