/**
 * First-party clients: they belong to the owner of this server, so people are not asked for consent. An admin says which
 * clients these are; the rules for their metadata are in clients/metadata/people.ts.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { claimOfEntry } from '../../accounts/data_for_apis.ts';
import { isFirstParty } from '../../clients/client.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { note } from '../request/request_events.ts';
import { missingForApi } from './claims_for_apis.ts';

/** In the device flow another person may have begun the request, and a backchannel request has no step here. */
const ROUTES = new Set(['authorization', 'resume']);

/** Whether the person is not asked for this request. */
export function skipsConsent({ oidc }: KoaContextWithOIDC): boolean {
  if (!isFirstParty(recordOf(oidc.client!)) || !ROUTES.has(oidc.route)) return false;
  return oidc.params?.['authorization_details'] === undefined && !oidc.prompts.has('consent');
}

/** Grants everything that is asked for, which must be what the person may have, and records that the person was not asked. */
export async function grantWithoutConsent(ctx: KoaContextWithOIDC): Promise<void> {
  const { oidc } = ctx;
  const { session, client, entities } = oidc;
  const grant = entities.Grant!;
  const has = new Set(splitScope(grant.getOIDCScopeEncountered()));
  const openid = [...oidc.requestParamOIDCScopes].filter((scope) => !has.has(scope));
  const hasClaims = new Set(grant.getOIDCClaimsEncountered());
  const claims = [...oidc.requestParamClaims].filter((claim) => !hasClaims.has(claim));
  const claimsForApis = missingForApi(ctx);
  const resources = Object.entries(oidc.resourceServers ?? {}).map(([identifier, server]) => {
    const hasScopes = new Set(splitScope(grant.getResourceScopeEncountered(identifier)));
    const scopes = [...oidc.requestParamScopes].filter((scope) => server.scopes.has(scope) && !hasScopes.has(scope));
    return [identifier, [...scopes, ...(claimsForApis[identifier] ?? [])]] as const;
  });
  const ofResources = resources.flatMap(([, its]) => its.map((entry) => claimOfEntry(entry) ?? entry));
  const scopes = [...openid, ...claims, ...ofResources];
  if (scopes.length === 0) return;
  if (openid.length > 0) grant.addOIDCScope(openid.join(' '));
  if (claims.length > 0) grant.addOIDCClaims(claims);
  for (const [identifier, its] of resources) if (its.length > 0) grant.addResourceScope(identifier, its.join(' '));
  const grantId = await grant.save();
  session!.ensureClientContainer(client!.clientId);
  session!.grantIdFor(client!.clientId, grantId);
  const accountId = oidc.account!.accountId;
  const details = { scopes: [...new Set(scopes)] };
  note(ctx, { event: 'consent.skipped', outcome: 'success', accountId, clientId: client!.clientId, details });
}
