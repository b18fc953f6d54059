/** The grant that an authorization request continues: of this sign-in, of this session, or made from what the person agreed to before. */
import { errors, type Grant, type KoaContextWithOIDC } from 'oidc-provider';
import { findConsent } from '../../accounts/consents.ts';
import type { Clock } from '../../base/clock.ts';
import { epochSeconds } from '../../base/clock.ts';
import { isUnverified } from '../../clients/client.ts';
import { DEVICE_CODE } from '../../clients/metadata/flows.ts';
import type { Database } from '../../db/connection.ts';
import { DEVICE_PAGES } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

export function loadExistingGrant(database: Database, clock: Clock) {
  return async (ctx: KoaContextWithOIDC): Promise<Grant | undefined> => {
    const { oidc } = ctx;
    demandStillRegistered(ctx);
    const consentedNow = oidc.result?.consent?.grantId;
    // anybody can call themselves this client: only the person can tell whether it is the one they mean
    if (isUnverified(recordOf(oidc.client!)) && !consentedNow) return undefined;
    const grantId = consentedNow ?? oidc.session?.grantIdFor(oidc.client!.clientId);
    const grant = grantId ? await oidc.provider.Grant.find(grantId) : undefined;
    if (grant && (grant.exp ?? 0) > epochSeconds(clock())) return grant;
    return grantFromConsent(ctx, database);
  };
}

/** Looked at when the request came; since then the person has logged in, and an admin may have taken it away. */
function demandStillRegistered({ oidc }: KoaContextWithOIDC): void {
  const client = oidc.client!;
  if (DEVICE_PAGES.has(oidc.route)) {
    if (!client.grantTypeAllowed(DEVICE_CODE)) throw new errors.UnauthorizedClient();
  } else if (!client.redirectUriAllowed(String(oidc.params?.['redirect_uri']))) throw new errors.InvalidRedirectUri();
}

/** Only what this request asks for is granted anew, however much was agreed to before. */
async function grantFromConsent({ oidc }: KoaContextWithOIDC, database: Database): Promise<Grant | undefined> {
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
  for (const resource of Object.keys(oidc.resourceServers ?? {})) {
    const scopes = agreed(consent.scopes.resources[resource] ?? []);
    if (scopes) grant.addResourceScope(resource, scopes);
  }
  await grant.save();
  return grant;
}
