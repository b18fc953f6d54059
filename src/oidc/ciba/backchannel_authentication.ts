/**
 * Client-initiated backchannel authentication (CIBA), poll and ping: a client names a person and asks for a token; the
 * person decides on a page of this server, wherever they are logged in. What a request may hold is said here.
 */
import { errors, type Configuration, type KoaContextWithOIDC, type Provider, type UnknownObject } from 'oidc-provider';
import { decodeJwt } from 'jose';
import type { Next, ParameterizedContext } from 'koa';
import { findAccount, findAccountByEmail } from '../../accounts/account.ts';
import type { Database } from '../../db/connection.ts';
import type { LoginHints } from '../../limits/login_hints.ts';
import { AskedTooOften } from './backchannel_request_store.ts';
import { noteReplay } from '../request/request_events.ts';
import { INTERVAL_SECONDS } from '../grants/polling.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { useOnce } from '../request/single_use.ts';
import { oidcContextOf } from '../provider/library_types.ts';

type Feature = NonNullable<NonNullable<Configuration['features']>['ciba']>;

/** For how long a request waits, unless the client asks for less or more (`requested_expiry`). */
const REQUEST_SECONDS = 600;
const LONGEST_REQUEST_SECONDS = 1_800;

/** Letters, digits and punctuation of any language, and spaces: nothing that is unseen or turns the line around. */
const BINDING_MESSAGE = /^(?=.*\S)[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,100}$/u;
/** As long as an e-mail address may be, and without what no database would take. */
const LOGIN_HINT = /^[^\p{Cc}]{1,254}$/u;

export function backchannelAuthentication({
  database,
  loginHints,
}: {
  readonly database: Database;
  readonly loginHints: LoginHints;
}): Feature {
  return {
    enabled: true,
    deliveryModes: ['poll', 'ping'],
    processLoginHint: (ctx, hint) => accountHintedAt(database, loginHints, ctx, hint ?? ''),
    processLoginHintToken: () => {
      throw new errors.InvalidRequest('login_hint_token is not supported: send login_hint or id_token_hint');
    },
    // a code that protects nobody must not be sent in the belief that it does
    verifyUserCode: (_ctx, _account, userCode) => {
      if (userCode !== undefined) throw new errors.InvalidRequest('user_code is not supported');
    },
    validateBindingMessage: (_ctx, message) => {
      if (message === undefined || BINDING_MESSAGE.test(message)) return;
      throw new errors.InvalidBindingMessage('binding_message must be 1 to 100 printable characters');
    },
    // called once a signature was verified, where there is one
    validateRequestContext: (ctx) => useRequestObject(database, ctx),
    triggerAuthenticationDevice: (ctx) => {
      (ctx.body as UnknownObject)['interval'] = INTERVAL_SECONDS;
    },
  };
}

/** Does to a provider what its configuration has no word for. Call it for each one that is built. */
export function guardBackchannelAuthentication(provider: Provider): void {
  provider.use((ctx, next) => (ctx.path.startsWith('/.well-known/') ? withoutUserCodes(ctx, next) : next()));
  provider.on('backchannel_authentication.error', (ctx, error) => {
    if (error instanceof AskedTooOften) ctx.set('Retry-After', String(error.retryAfterSeconds));
  });
}

/** The library says that it takes them, whoever verifies them. */
async function withoutUserCodes(ctx: ParameterizedContext, next: Next): Promise<void> {
  await next();
  const isDiscovery = 'oidc' in ctx && oidcContextOf(ctx).oidc.route === 'discovery';
  if (isDiscovery) (ctx.body as UnknownObject)['backchannel_user_code_parameter_supported'] = false;
}

/** In seconds, for `ttl`. The library has seen to it that a `requested_expiry` is a whole number above 0. */
export function backchannelRequestSeconds({ oidc }: KoaContextWithOIDC): number {
  const { requested_expiry } = oidc.params ?? {};
  if (requested_expiry === undefined) return REQUEST_SECONDS;
  return Math.min(Number(requested_expiry), LONGEST_REQUEST_SECONDS);
}

/** An e-mail address or an account's id (CIBA, 7.1). That nobody was found, the client is told: it has proved itself. */
async function accountHintedAt(
  database: Database,
  loginHints: LoginHints,
  { oidc }: KoaContextWithOIDC,
  hint: string,
): Promise<string | undefined> {
  const { clientId } = oidc.client!;
  // an id that all clients have in common is nothing that one with pairwise subjects has or may learn to be right
  const takesIds = recordOf(oidc.client!).metadata.subject_type !== 'pairwise';
  const hinted = await loginHints.attempt(clientId, async () => {
    if (!LOGIN_HINT.test(hint)) return undefined;
    const account = hint.includes('@')
      ? await findAccountByEmail(database, hint.trim().toLowerCase())
      : takesIds && (await findAccount(database, hint));
    return account && !account.disabledAt ? account.accountId : undefined;
  });
  if (!hinted.admitted) throw new AskedTooOften('too many hints at nobody', hinted.retryAfterSeconds);
  return hinted.result;
}

/** What was signed is asked once: a request object that comes again, on whichever node, is somebody else's copy. */
async function useRequestObject(database: Database, ctx: KoaContextWithOIDC): Promise<void> {
  const { oidc } = ctx;
  const { request } = (oidc.body ?? {}) as { request?: string };
  if (request === undefined) return;
  const { jti, exp } = decodeJwt(request);
  const issuer = oidc.client!.clientId;
  if (await useOnce(ctx, database, 'request_object', { issuer, jti: jti!, until: exp! })) return;
  noteReplay(ctx, 'request_object.replayed');
  throw new errors.InvalidRequest('the request object was used already');
}
