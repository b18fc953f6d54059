/**
 * Finds the grant that an authorization request continues: of this login, of this session, or a new one from an earlier
 * consent.
 */
import { errors, type Grant, type KoaContextWithOIDC } from 'oidc-provider';
import { findConsent } from '../../accounts/consents.ts';
import { entryOfClaim } from '../../accounts/data_for_apis.ts';
import type { Clock } from '../../base/clock.ts';
import { epochSeconds } from '../../base/clock.ts';
import { isUnverified } from '../../clients/client.ts';
import { DEVICE_CODE } from '../../clients/metadata/flows.ts';
import type { Database } from '../../db/connection.ts';
import { DEVICE_PAGES } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { isAgreed } from '../issuance/single_claims.ts';
import { claimsForApi } from './claims_for_apis.ts';

/** Returns the library's hook of this name; it resolves to `undefined` if the person has to consent. */
export function loadExistingGrant(database: Database, clock: Clock) {
  return async (ctx: KoaContextWithOIDC): Promise<Grant | undefined> => {
    const { oidc } = ctx;
    checkStillRegistered(ctx);
    const consentedNow = oidc.result?.consent?.grantId;
    if (consentedNow !== undefined) await endReplacedGrant(ctx, consentedNow);
    // another application may use this client's id, so the person must consent each time
    if (isUnverified(recordOf(oidc.client!)) && !consentedNow) return undefined;
    const grantId = consentedNow ?? oidc.session?.grantIdFor(oidc.client!.clientId);
    const grant = grantId ? await oidc.provider.Grant.find(grantId) : undefined;
    if (grant && (grant.exp ?? 0) > epochSeconds(clock())) return grant;
    return grantFromConsent(ctx, database);
  };
}

/**
 * A session has one grant for each client, and tokens without offline_access end when it has another one. The grant
 * itself ends here, so that a logout leaves none behind. A grant with offline_access stays: a different program may have
 * the same client id, and its tokens must not end.
 */
async function endReplacedGrant(ctx: KoaContextWithOIDC, consentedNow: string): Promise<void> {
  const { client, provider, session } = ctx.oidc;
  const { grantId, persistsLogout } = session?.authorizations?.[client!.clientId] ?? {};
  if (grantId === undefined || grantId === consentedNow || persistsLogout) return;
  const replaced = await provider.Grant.find(grantId);
  if (!replaced) return;
  await replaced.destroy();
  provider.emit('grant.revoked', ctx, grantId);
}

/**
 * The client's redirect URI or grant type was checked at the start of the request; an admin may have removed it during
 * the login.
 */
function checkStillRegistered({ oidc }: KoaContextWithOIDC): void {
  const client = oidc.client!;
  if (DEVICE_PAGES.has(oidc.route)) {
    if (!client.grantTypeAllowed(DEVICE_CODE)) throw new errors.UnauthorizedClient();
  } else if (!client.redirectUriAllowed(String(oidc.params?.['redirect_uri']))) throw new errors.InvalidRedirectUri();
}

/** Grants only what this request asks for, even if the earlier consent covers more. */
async function grantFromConsent(ctx: KoaContextWithOIDC, database: Database): Promise<Grant | undefined> {
  const { oidc } = ctx;
  const accountId = oidc.account!.accountId;
  const clientId = oidc.client!.clientId;
  const consent = await findConsent(database, accountId, clientId);
  if (!consent) return undefined;
  const asked = oidc.requestParamScopes;
  const agreed = (scopes: readonly string[]): string => scopes.filter((scope) => asked.has(scope)).join(' ');

  const grant = new oidc.provider.Grant({ accountId, clientId });
  const openid = agreed(consent.scopes.openid);
  if (openid) grant.addOIDCScope(openid);
  const claims = consent.scopes.claims.filter((claim) => oidc.requestParamClaims.has(claim));
  if (claims.length > 0) grant.addOIDCClaims([...claims]);
  const single = claimsForApi(ctx);
  for (const [resource, server] of Object.entries(oidc.resourceServers ?? {})) {
    const consented = consent.scopes.resources[resource] ?? [];
    const its = single?.api === resource ? single.claims.filter((claim) => isAgreed(consented, claim)) : [];
    const scopes = consented.filter((scope) => asked.has(scope) && server.scopes.has(scope));
    const entries = [...scopes, ...its.map(entryOfClaim)];
    if (entries.length > 0) grant.addResourceScope(resource, entries);
  }
  await grant.save();
  return grant;
}
