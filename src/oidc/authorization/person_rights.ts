/**
 * What the person of an authorization request may have: it is decided after the login and before the consent, so that
 * the consent page asks only for that.
 */
import { interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { isAboutPerson } from '../../accounts/data_for_apis.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import { userinfoIdentifier } from '../../resources/own_identifiers.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { personIn } from '../provider/library_types.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { grantWithoutConsent, skipsConsent } from './first_party.ts';
import { NothingPermitted } from './nothing_permitted.ts';

const { Check, Prompt } = interactionPolicy;

export interface PersonRightsSettings {
  readonly issuer: string;
  readonly policy: ResourcePolicy;
}

/**
 * The step for a person who may not use the client: a page that says whom to ask, then `access_denied`. For all others
 * it removes from the request what their roles do not permit, and grants the rest to a first-party client.
 */
export function personRights(settings: PersonRightsSettings): InstanceType<typeof Prompt> {
  const check = async (ctx: KoaContextWithOIDC): Promise<boolean> => {
    if (!ctx.oidc.account) return false;
    if (!isAllowedToUse(recordOf(ctx.oidc.client!).metadata, personIn(ctx).memberships)) return true;
    narrowToPerson(settings, ctx);
    if (skipsConsent(ctx)) await grantWithoutConsent(ctx);
    return false;
  };
  return new Prompt(
    { name: 'not_allowed', requestable: false },
    new Check('not_in_allowed_groups', 'the end-user may not use this client', 'access_denied', check),
  );
}

/** Throws `AccessDenied` if nothing is left of the request. */
function narrowToPerson({ issuer, policy }: PersonRightsSettings, ctx: KoaContextWithOIDC): void {
  const { oidc } = ctx;
  const asked = splitScope(oidc.params?.['scope']);
  const servers = Object.entries(oidc.resourceServers ?? {});
  const withheld = new Set<string>();
  const permitted = new Set<string>();
  const emptied: string[] = [];
  for (const [identifier, server] of servers) {
    const permits = policy.permits(identifier, personIn(ctx).memberships);
    // what the API may read about the person goes with its own scopes
    const its = asked.filter((scope) => server.scopes.has(scope) && !isAboutPerson(scope));
    const left = permits ? its.filter(permits) : its;
    left.forEach((scope) => permitted.add(scope));
    if (left.length === its.length) continue;
    its.filter((scope) => !left.includes(scope)).forEach((scope) => withheld.add(scope));
    server.scope = [...server.scopes].filter((scope) => permits!(scope)).join(' ');
    if (left.length === 0) emptied.push(identifier);
  }
  const isDetailed = oidc.params!['authorization_details'] !== undefined;
  const apis = servers.map(([identifier]) => identifier).filter((one) => one !== userinfoIdentifier(issuer));
  if (isDetailed && !apis.some((api) => policy.admits(api, personIn(ctx).memberships))) throw new NothingPermitted();
  if (withheld.size === 0) return;
  if (permitted.size === 0 && !asked.includes('openid') && !isDetailed) throw new NothingPermitted();
  oidc.params!['scope'] = asked.filter((scope) => !withheld.has(scope) || permitted.has(scope)).join(' ');
  if (!isDetailed) leaveOut(ctx, emptied, userinfoIdentifier(issuer));
}

/** An API of which no scope is left is not asked for any more, and userinfo goes with the last API. */
function leaveOut({ oidc }: KoaContextWithOIDC, emptied: readonly string[], userinfo: string): void {
  const named = Object.keys(oidc.resourceServers ?? {}).filter((identifier) => !emptied.includes(identifier));
  const left = named.some((identifier) => identifier !== userinfo) ? named : [];
  for (const identifier of Object.keys(oidc.resourceServers ?? {})) {
    if (!left.includes(identifier)) delete oidc.resourceServers![identifier];
  }
  oidc.params!['resource'] = left.length > 1 ? left : left[0];
}
