/** Makes the token that is given for another token or an assertion: the common part of both grants of our own. */
import { errors, type AccessToken, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds } from '../../base/clock.ts';
import type { Choice } from '../../grant_policies/evaluate.ts';
import type { Policy } from '../../grant_policies/policy.ts';
import { requestOf } from '../../http/request_context.ts';
import type { CarriedClaims } from '../issuance/exchanged_claims.ts';
import { decideScope, splitScope } from '../issuance/scope_decision.ts';
import { internalsOf } from '../provider/library_types.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';

const carried = new WeakMap<object, CarriedClaims>();

/** What the token says of what it was made from, once it is about to be issued. */
export function carriedClaims(token: object): CarriedClaims | undefined {
  return carried.get(token);
}

export interface Exchange {
  readonly policy: Policy;
  /** What the token may carry at most; what is asked for beyond it is refused. */
  readonly permitted: ReadonlySet<string>;
  readonly sub: string;
  /** The account that the token is newly given a grant for, so that it ends with the account's other grants. */
  readonly accountId: string | undefined;
  /** Epoch seconds: the earliest end of all that the token is made from. */
  readonly notAfter: number;
  readonly claims: CarriedClaims;
}

export interface Draft {
  readonly token: AccessToken;
  readonly lifetimeSeconds: number;
  readonly trade: Exchange;
}

/** The token as it would be, neither bound nor issued; throws for a scope or resource that can't be had. */
export function draftToken(ctx: KoaContextWithOIDC, resources: ResourcePolicy, trade: Exchange): Draft {
  const { provider, client, params } = ctx.oidc;
  const { policy, permitted, sub, notAfter } = trade;
  const server = resources.serverFor(client!, policy.resource, permitted);
  if (!server) throw new errors.InvalidTarget('the resource is not there any more');
  const scope = settleScope(splitScope(params?.['scope']), splitScope(server.scope));
  const now = epochSeconds(requestOf(ctx).now);
  const longest = Math.min(policy.maxTtlSeconds, server.accessTokenTTL ?? policy.maxTtlSeconds);
  const exp = Math.floor(Math.min(now + longest, notAfter));
  const { AccessToken } = internalsOf(provider);
  const token = new AccessToken({ client, accountId: sub, scope, gty: policy.grant, exp, expiresIn: exp - now });
  token.resourceServer = new provider.ResourceServer(policy.resource, server);
  return { token, lifetimeSeconds: exp - now, trade };
}

/** Issues the token. For an account it gets a grant of its own, which is stored only while the account is not disabled. */
export async function issueToken(ctx: KoaContextWithOIDC, { token, lifetimeSeconds, trade }: Draft) {
  const { provider, client } = ctx.oidc;
  const { accountId, policy, claims } = trade;
  if (accountId !== undefined) {
    const { Grant } = internalsOf(provider);
    const grant = new Grant({ accountId, clientId: client!.clientId, expiresIn: lifetimeSeconds });
    grant.addResourceScope(policy.resource, token.scope!);
    token.grantId = await grant.save();
  }
  carried.set(token, claims);
  ctx.oidc.entity('AccessToken', token);
  return {
    access_token: await token.save(),
    token_type: token.tokenType,
    expires_in: lifetimeSeconds,
    scope: token.scope,
  };
}

/** The policy that was requirePolicy; throws what the request is to be told where there is none. */
export function requirePolicy(choice: Choice, refuseSubject: (reason: string) => never): Policy {
  if ('policy' in choice) return choice.policy;
  switch (choice.refused) {
    case 'subject_not_allowed':
      return refuseSubject('no policy lets this client present it');
    case 'target_not_allowed':
      throw new errors.InvalidTarget('no policy lets this client have a token for that resource in return');
    case 'target_ambiguous':
      throw new errors.InvalidTarget('this client may have tokens for several resources in return: name one');
  }
}

/** The one resource that a request names, if it names any. */
export function targetOf(named: readonly unknown[]): string | undefined {
  const [target, ...others] = new Set(named.flat().filter((one) => one !== undefined));
  if (others.length > 0) throw new errors.InvalidTarget('a token is for one resource: name a single one');
  return target as string | undefined;
}

/** These grants have none (RFC 9396, 1): what is not understood must not be dropped. */
export function refuseAuthorizationDetails({ oidc }: KoaContextWithOIDC): void {
  if (!oidc.body?.['authorization_details']) return;
  throw new errors.InvalidRequest('authorization_details can not be used with this grant type');
}

function settleScope(asked: readonly string[], permitted: readonly string[]): string {
  const decision = decideScope(asked, new Set(permitted));
  if ('excess' in decision)
    throw new errors.InvalidScope(
      'no policy lets this token have every scope that is asked for',
      decision.excess.join(' '),
    );
  if (permitted.length === 0)
    throw new errors.InvalidScope('what was presented carries no scope that the policy has use for', '');
  return decision.scopes.join(' ');
}
