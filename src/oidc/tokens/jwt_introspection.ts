/**
 * Introspection (RFC 7662) and revocation (RFC 7009) of JWT access tokens. The library authenticates the caller,
 * detects a JWT and refuses it as an unsupported token type, because it stores none; this code answers in place of that
 * refusal.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { requestOf } from '../../http/request_context.ts';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import type { AccessTokenStates } from './access_token_state.ts';
import { note, originOf } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import type { Revocations } from './revocation.ts';
import { signIntrospection } from './signed_introspection.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';
import { scopeForApi } from '../issuance/userinfo_audience.ts';
import type { Usernames } from './userinfo_tokens.ts';

export interface JwtIntrospectionSettings {
  readonly tokens: AccessTokenStates;
  readonly revocations: Revocations;
  readonly usernames: Usernames;
}

export class JwtIntrospection {
  readonly #settings: JwtIntrospectionSettings;

  constructor(settings: JwtIntrospectionSettings) {
    this.#settings = settings;
  }

  /** True if the library has authenticated the caller and refused only the token type. */
  takesOver(ctx: KoaContextWithOIDC, refusal: { error?: string } | undefined): boolean {
    return refusal?.error === 'unsupported_token_type' && ctx.oidc.client !== undefined && isHandled(ctx.oidc.route);
  }

  async answer(ctx: KoaContextWithOIDC): Promise<void> {
    const token = String(ctx.oidc.params?.['token']);
    const caller = recordOf(ctx.oidc.client!);
    const { tokens } = this.#settings;
    const { now } = requestOf(ctx);
    if (ctx.oidc.route === 'introspection') {
      const claims = await tokens.inspect(token, now);
      ctx.status = 200;
      ctx.body = await introspectionResponse(claims, caller, this.#settings.usernames);
      await signIntrospection(ctx);
    } else await this.#revoke(ctx, caller, await tokens.verify(token, now));
  }

  async #revoke(
    ctx: KoaContextWithOIDC,
    caller: ClientWithSecrets,
    claims: AccessTokenClaims | undefined,
  ): Promise<void> {
    if (claims && claims.client_id !== caller.clientId) {
      const details = { error: 'invalid_request', reason: 'the token is of another client', jti: claims.jti };
      note(ctx, { event: 'token.revoked', outcome: 'refused', clientId: caller.clientId, details });
      ctx.status = 400;
      ctx.body = {
        error: 'invalid_request',
        error_description: 'client is not authorized to revoke the presented token',
      };
      return;
    }
    if (claims) await this.#settings.revocations.revoke({ claims, origin: originOf(ctx), now: requestOf(ctx).now });
    ctx.status = 200;
    ctx.body = '';
  }
}

/**
 * A resource server may see the tokens whose audience it is, a client its own tokens. A public client may see none: it
 * is not authenticated, so an attacker could test stolen tokens in its name (RFC 7662, 4).
 */
export function maySee(
  caller: ClientWithSecrets,
  token: { readonly clientId: string | undefined; readonly audience: unknown },
): boolean {
  if (caller.metadata.token_endpoint_auth_method === 'none') return false;
  if (token.clientId === caller.clientId) return true;
  return [token.audience].flat().some((one) => typeof one === 'string' && caller.metadata.introspects.includes(one));
}

/**
 * The introspection answer for this caller. `claims` are those of a valid token, else `undefined`. An API sees its own
 * scopes, the token's client sees all of them, without those of OpenID Connect that were taken from it.
 */
export async function introspectionResponse(
  claims: AccessTokenClaims | undefined,
  caller: ClientWithSecrets,
  usernames: Usernames,
): Promise<object> {
  if (!claims || !maySee(caller, { clientId: claims.client_id, audience: claims.aud })) return { active: false };
  const { gen: _, gid: __, parents: ___, asserted_by: ____, userinfo_claims: _____, ...visible } = claims;
  const forApi = typeof claims.aud === 'string' ? visible.scope : scopeForApi(visible.scope);
  const isOwn = claims.client_id === caller.clientId;
  const ofClient = stillRegistered(caller.metadata, splitScope(visible.scope)).join(' ') || undefined;
  return {
    active: true,
    ...visible,
    scope: isOwn ? ofClient : forApi,
    username: Array.isArray(claims.aud) ? await usernames.ofJwt(claims) : undefined,
    token_type: visible.cnf?.jkt === undefined ? 'Bearer' : 'DPoP',
  };
}

function isHandled(route: string): boolean {
  return route === 'introspection' || route === 'revocation';
}
