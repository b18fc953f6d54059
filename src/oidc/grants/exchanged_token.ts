/** Issues the token for a presented token or assertion: the common part of token exchange and the JWT bearer grant. */
import { errors, type AccessToken, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds } from '../../base/clock.ts';
import type { Choice } from '../../grant_policies/evaluate.ts';
import type { Policy } from '../../grant_policies/policy.ts';
import { requestOf } from '../../http/request_context.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import type { Memberships } from '../../roles/memberships.ts';
import { NothingPermitted } from '../authorization/nothing_permitted.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import type { CarriedClaims } from '../issuance/exchanged_claims.ts';
import { decideScope } from '../issuance/scope_decision.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { internalsOf } from '../provider/library_types.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';

const exchanges = new WeakMap<object, Exchange>();

/** Returns what a token comes from; `undefined` for a token that is not exchanged, and before `issueToken`. */
export function exchangeOf(token: object): Exchange | undefined {
  return exchanges.get(token);
}

export interface Exchange {
  readonly policy: Policy;
  /** The scopes that the token may have. A request for another scope is refused. */
  readonly permitted: ReadonlySet<string>;
  readonly sub: string;
  /** The groups of the person that the token is about, none without an account; `undefined` for a program. */
  readonly memberships: Memberships | undefined;
  /** The account to create a grant for, so that the token ends when the account's other grants end. */
  readonly accountId: string | undefined;
  /** The earliest expiry of the presented tokens, in epoch seconds. */
  readonly notAfter: number;
  readonly claims: CarriedClaims;
}

export interface Draft {
  readonly token: AccessToken;
  readonly lifetimeSeconds: number;
  readonly trade: Exchange;
}

/** Creates the token without binding or issuing it. Throws if the policy does not permit the scope or resource. */
export function draftToken(ctx: KoaContextWithOIDC, resources: ResourcePolicy, trade: Exchange): Draft {
  const { provider, client, params } = ctx.oidc;
  const { policy, permitted, memberships, sub, notAfter } = trade;
  const server = resources.serverFor(client!, policy.resource, permitted);
  if (!server) throw new errors.InvalidTarget('the resource is not there any more');
  if (memberships && !isAllowedToUse(recordOf(client!).metadata, memberships))
    throw new errors.AccessDenied('the end-user may not use this client');
  const settled = splitScope(settleScope(splitScope(params?.['scope']), splitScope(server.scope)));
  const permits = memberships && resources.permits(policy.resource, memberships);
  const scope = (permits ? settled.filter(permits) : settled).join(' ');
  if (scope === '') throw new NothingPermitted();
  const now = epochSeconds(requestOf(ctx).now);
  const longest = Math.min(policy.maxTtlSeconds, server.accessTokenTTL ?? policy.maxTtlSeconds);
  const exp = Math.floor(Math.min(now + longest, notAfter));
  const { AccessToken } = internalsOf(provider);
  const token = new AccessToken({ client, accountId: sub, scope, gty: policy.grant, exp, expiresIn: exp - now });
  token.resourceServer = new provider.ResourceServer(policy.resource, server);
  return { token, lifetimeSeconds: exp - now, trade };
}

/** Issues the token. With an account, it creates a grant first, which is stored only if the account is not disabled. */
export async function issueToken(ctx: KoaContextWithOIDC, { token, lifetimeSeconds, trade }: Draft) {
  const { provider, client } = ctx.oidc;
  const { accountId, policy } = trade;
  if (accountId !== undefined) {
    const { Grant } = internalsOf(provider);
    const grant = new Grant({ accountId, clientId: client!.clientId, expiresIn: lifetimeSeconds });
    grant.addResourceScope(policy.resource, token.scope!);
    token.grantId = await grant.save();
  }
  exchanges.set(token, trade);
  ctx.oidc.entity('AccessToken', token);
  return {
    access_token: await token.save(),
    token_type: token.tokenType,
    expires_in: lifetimeSeconds,
    scope: token.scope,
  };
}

/** Returns the chosen policy. If there is none, throws the error of the response. */
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

/** Returns the resource that a request names; `undefined` if it names none. Throws if it names several. */
export function targetOf(named: readonly unknown[]): string | undefined {
  const [target, ...others] = new Set(named.flat().filter((one) => one !== undefined));
  if (others.length > 0) throw new errors.InvalidTarget('a token is for one resource: name a single one');
  return target as string | undefined;
}

/** Refuses `authorization_details` (RFC 9396): these grants do not support them and must not ignore them silently. */
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
