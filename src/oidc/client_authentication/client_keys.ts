/**
 * The keys that a client's signatures are verified with. A stranger may name any client, so what a request can make
 * this server do with them is bounded: few keys are tried, none that is expensive, and not many at once.
 *
 * Keys that a client publishes itself (`jwks_uri`): left alone, the library reads them again only when a verification
 * fails, so a key that the client withdrew would work for as long as nobody used another one; and it believes any
 * max-age, so one of a year would keep a new key out for a year. Here they are read as those of any other signer are
 * (trust/published_keys.ts).
 */
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import type { Clock } from '../../base/clock.ts';
import { Unavailable } from '../../base/unavailable.ts';
import { isAcceptedSize } from '../../clients/metadata/public_jwk.ts';
import type { Cause, Egress } from '../../egress/egress.ts';
import { refusalHeaders } from '../../http/admission.ts';
import { requestOf } from '../../http/request_context.ts';
import { networkOf } from '../../limits/rate_limit_key.ts';
import type { Verifications } from '../../limits/verifications.ts';
import type { Logger } from '../../log.ts';
import { PublishedKeys } from '../../trust/published_keys.ts';
import { TooManyRequests } from './client_rate_limit.ts';

export interface ClientKeysSettings {
  readonly egress: Pick<Egress, 'get' | 'last'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly verifications: Verifications;
  /** The digest of the certificate that came with the request under way, where one did. */
  readonly presented: () => string | undefined;
  /** Whether an admin made the client; a client that registered itself is read on the lane of strangers. */
  readonly vetted: boolean;
}

/** Of those that fit the header's `alg` and `kid`. More than that, and the header has to name one. */
const KEYS_TRIED_AT_MOST = 4;

/** Too many keys fit; the library shows this as it is, or as the cause of a failed client authentication. */
class KeyNotNamed extends errors.InvalidRequestObject {
  constructor() {
    super(
      `more than ${KEYS_TRIED_AT_MOST} keys of the client fit the signature: name one of them by kid in the header, and give each key a kid of its own`,
    );
  }
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

/** Bounds what the client's keys cost, and makes those that it publishes come through the guarded way out. */
export function guardKeys(settings: ClientKeysSettings, client: Client): void {
  const { asymmetricKeyStore: store } = client as unknown as { asymmetricKeyStore: KeyStore };
  if (typeof client.jwksUri === 'string') readKeysThrough(settings, client, client.jwksUri, store);
  const selectForVerify = store.selectForVerify.bind(store);
  store.selectForVerify = (options) => {
    // keys that were registered before sizes were bounded are never tried
    const fitting = selectForVerify(options).filter((key) => isAcceptedSize({ ...key }));
    if (fitting.length > KEYS_TRIED_AT_MOST) throw new KeyNotNamed();
    if (fitting.length > 0) countVerification(settings.verifications, client);
    return fitting;
  };
}

/** Requests that are counted already: the library asks again after it has read newer keys. */
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
  { egress, clock, log, presented, vetted }: ClientKeysSettings,
  { clientId }: Client,
  jwksUri: string,
  store: KeyStore,
): void {
  const selectForVerify = store.selectForVerify.bind(store);
  const all = store[Symbol.iterator].bind(store);
  const causeOf = (): Cause => ({ vetted, asker: vetted ? undefined : askerOf(Provider.ctx) });
  const published = new PublishedKeys(
    jwksUri,
    egress,
    (error) => log.warn({ clientId, error }, 'client_keys.unreadable'),
    causeOf,
  );
  const demandRead = (): void => {
    // whether the client is what it says can't be told: it has to come again
    if (published.areAway(clock())) throw new Unavailable(`The keys of ${clientId} can't be read now.`);
  };
  const holds = (digest: string | undefined): boolean =>
    digest !== undefined && Iterator.from({ [Symbol.iterator]: all }).some((key) => key['x5t#S256'] === digest);
  Object.assign(store, {
    // none found, and not fresh: the library calls refresh and looks again
    selectForVerify: (options) => {
      if (published.areUsable(clock())) return selectForVerify(options);
      if (published.wereTried(clock())) demandRead();
      return [];
    },
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

function askerOf(ctx: KoaContextWithOIDC | undefined): string | undefined {
  return ctx && networkOf(requestOf(ctx).address);
}

/**
 * Puts right what the library made of an objection to keys: it answers each failed verification of a client assertion
 * with `invalid_client`, and tells nobody that the keys could not be read, or that the header has to name one.
 */
export function answerKeyObjection(ctx: KoaContextWithOIDC, cause: unknown): void {
  if (cause instanceof TooManyRequests) ctx.status = cause.statusCode;
  if (!(cause instanceof TooManyRequests || cause instanceof KeyNotNamed)) return;
  const error = cause instanceof TooManyRequests ? cause.error : 'invalid_client';
  ctx.body = { error, error_description: cause.error_description };
}
