/**
 * Client-initiated backchannel authentication (CIBA), poll and ping mode: a client names a person and asks for a token,
 * and the person decides on a page of this server, on any device where they are logged in. This file validates the
 * requests.
 */
import { errors, type Configuration, type KoaContextWithOIDC, type Provider, type UnknownObject } from 'oidc-provider';
import { decodeJwt } from 'jose';
import type { Next, ParameterizedContext } from 'koa';
import { findAccount, findAccountByEmail } from '../../accounts/account.ts';
import { isVisible } from '../../base/visible_text.ts';
import type { Database } from '../../db/connection.ts';
import type { LoginHints } from '../../limits/login_hints.ts';
import { RequestLimitReached } from './backchannel_request_store.ts';
import { noteReplay } from '../request/request_events.ts';
import { INTERVAL_SECONDS } from '../grants/polling.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { useOnce } from '../request/single_use.ts';
import { personIn, oidcContextOf } from '../provider/library_types.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import { NothingPermitted } from '../authorization/nothing_permitted.ts';
import type { ResourcePolicy, SortedScopes } from '../tokens/resource_policy.ts';

type Feature = NonNullable<NonNullable<Configuration['features']>['ciba']>;

/** The lifetime of a request. A client may ask for a shorter one (`requested_expiry`; ASVS 5.0, 6.5.5). */
const REQUEST_SECONDS = 600;

/** Letters, digits, punctuation and symbols of any language, the joiners that some need between them, and spaces. */
const BINDING_MESSAGE = /^(?=.*\S)(?:[\p{L}\p{M}\p{N}\p{P}\p{S} ]|\u200C|\u200D){1,100}$/u;
/** The maximum length of an e-mail address, without control characters: PostgreSQL refuses NUL. */
const LOGIN_HINT = /^[^\p{Cc}]{1,254}$/u;

/** The library's configuration of CIBA. */
export function backchannelAuthentication({
  database,
  loginHints,
  policy,
}: {
  readonly database: Database;
  readonly loginHints: LoginHints;
  readonly policy: ResourcePolicy;
}): Feature {
  return {
    enabled: true,
    deliveryModes: ['poll', 'ping'],
    processLoginHint: (ctx, hint) => findHintedAccount(database, loginHints, ctx, hint ?? ''),
    processLoginHintToken: () => {
      throw new errors.InvalidRequest('login_hint_token is not supported; send login_hint or id_token_hint');
    },
    // the server has no user codes; a client must not rely on one that is not checked
    verifyUserCode: (ctx, _account, userCode) => {
      if (userCode !== undefined) throw new errors.InvalidRequest('user_code is not supported');
      // the library has found the person by now
      demandRights(policy, ctx);
    },
    validateBindingMessage: (_ctx, message) => {
      if (message === undefined || (BINDING_MESSAGE.test(message) && isVisible(message))) return;
      throw new errors.InvalidBindingMessage('binding_message must be 1 to 100 printable characters');
    },
    // the library calls this after it has verified the signature, if there is one
    validateRequestContext: (ctx) => useRequestObject(database, ctx),
    triggerAuthenticationDevice: (ctx) => {
      (ctx.body as UnknownObject)['interval'] = INTERVAL_SECONDS;
    },
  };
}

/** Adjusts what the library has no configuration for. Call it for each new provider. */
export function guardBackchannelAuthentication(provider: Provider): void {
  provider.use((ctx, next) => (ctx.path.startsWith('/.well-known/') ? withoutUserCodes(ctx, next) : next()));
  provider.on('backchannel_authentication.error', (ctx, error) => {
    if (error instanceof RequestLimitReached) ctx.set('Retry-After', String(error.retryAfterSeconds));
  });
}

/** The library always announces support for user codes. */
async function withoutUserCodes(ctx: ParameterizedContext, next: Next): Promise<void> {
  await next();
  const isDiscovery = 'oidc' in ctx && oidcContextOf(ctx).oidc.route === 'discovery';
  if (isDiscovery) (ctx.body as UnknownObject)['backchannel_user_code_parameter_supported'] = false;
}

/**
 * The lifetime of a request in seconds, for `ttl`. The library has validated that `requested_expiry` is a whole number
 * above 0.
 */
export function backchannelRequestSeconds({ oidc }: KoaContextWithOIDC): number {
  const { requested_expiry } = oidc.params ?? {};
  if (requested_expiry === undefined) return REQUEST_SECONDS;
  return Math.min(Number(requested_expiry), REQUEST_SECONDS);
}

/**
 * Finds an account by e-mail address or account id (CIBA, 7.1). The client is authenticated, so it learns if there is
 * no account.
 */
async function findHintedAccount(
  database: Database,
  loginHints: LoginHints,
  { oidc }: KoaContextWithOIDC,
  hint: string,
): Promise<string | undefined> {
  const { clientId } = oidc.client!;
  // a client with pairwise subjects must not send or verify an account id, which is the same for all clients
  const takesIds = recordOf(oidc.client!).metadata.subject_type !== 'pairwise';
  const hinted = await loginHints.attempt(clientId, async () => {
    if (!LOGIN_HINT.test(hint)) return undefined;
    const account = hint.includes('@')
      ? await findAccountByEmail(database, hint)
      : takesIds && (await findAccount(database, hint));
    return account && !account.disabledAt ? account.accountId : undefined;
  });
  if (!hinted.admitted)
    throw new RequestLimitReached('too many login hints without an account', hinted.retryAfterSeconds);
  return hinted.result;
}

/** Refuses a request of which the person may have nothing. The page asks for the rest (approvals.ts). */
function demandRights(policy: ResourcePolicy, ctx: KoaContextWithOIDC): void {
  const { client, params = {} } = ctx.oidc;
  const { memberships } = personIn(ctx);
  if (!isAllowedToUse(recordOf(client!).metadata, memberships))
    throw new errors.AccessDenied('the end-user may not use this client');
  const without = policy.sort(client!, params);
  const left = policy.sort(client!, params, memberships);
  const countOf = ({ resources }: SortedScopes): number => Object.values(resources).flat().length;
  // `openid` is in each request; a request for an API has nothing left without the scopes of the API
  if (countOf(without) > 0 && countOf(left) === 0 && params['authorization_details'] === undefined)
    throw new NothingPermitted();
}

/** A signed request is valid once, across all nodes: a request object that is used twice may be a stolen copy. */
async function useRequestObject(database: Database, ctx: KoaContextWithOIDC): Promise<void> {
  const { oidc } = ctx;
  const { request } = (oidc.body ?? {}) as { request?: string };
  if (request === undefined) return;
  const { jti, exp } = decodeJwt(request);
  const issuer = oidc.client!.clientId;
  if (await useOnce(ctx, database, 'request_object', { issuer, jti: jti!, until: exp! })) return;
  noteReplay(ctx, 'request_object.replayed');
  throw new errors.InvalidRequest('the request object was already used');
}
