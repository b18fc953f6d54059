/**
 * JWT access tokens at userinfo: the library looks for opaque tokens alone. Both kinds give what the client may have
 * today, and not what it was registered for when the token was issued.
 */
import { Provider, type AccessToken } from 'oidc-provider';
import { sql } from 'kysely';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database } from '../../db/connection.ts';
import { requestOf } from '../../http/request_context.ts';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';
import { isAgreed } from '../issuance/single_claims.ts';
import { readAudience } from '../issuance/userinfo_audience.ts';
import { internalsOf } from '../provider/library_types.ts';
import { readGrantByReference } from '../storage/grant_store.ts';
import { prefetch } from '../storage/request_prefetch.ts';
import type { AccessTokenStates } from './access_token_state.ts';
import type { ResourcePolicy } from './resource_policy.ts';

export interface UserinfoTokensSettings {
  readonly issuer: string;
  readonly database: Database;
  readonly tokens: AccessTokenStates;
  readonly policy: ResourcePolicy;
}

/** A JWS in compact form (RFC 7515, 7.1). */
const JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Makes userinfo accept JWTs that name it in `aud`. The library checks the binding to a key, the account and the grant. */
export function acceptJwtsAtUserinfo(provider: Provider, settings: UserinfoTokensSettings): void {
  const model = internalsOf(provider).AccessToken;
  const { find } = model;
  model.find = async function (value, options) {
    if (Provider.ctx?.oidc.route !== 'userinfo') return find.call(this, value, options);
    if (typeof value === 'string' && JWS.test(value)) return fromJwt(provider, settings, value);
    const token = await find.call(this, value, options);
    const client = token?.clientId === undefined ? undefined : await provider.Client.find(token.clientId);
    if (token && client) token.scope = stillRegistered(recordOf(client).metadata, splitScope(token.scope)).join(' ');
    return token;
  };
}

/** The token as the library would have stored it, without an audience, which it takes for one that is for userinfo. */
async function fromJwt(
  provider: Provider,
  { issuer, database, tokens, policy }: UserinfoTokensSettings,
  value: string,
): Promise<AccessToken | undefined> {
  const claims = await tokens.inspect(value, requestOf(Provider.ctx!).now);
  const client = claims && (await provider.Client.find(claims.client_id));
  if (!client || claims.gid === undefined) return undefined;
  const api = readAudience(claims.aud, issuer);
  const payload = api?.withUserinfo ? await readGrantByReference(database, claims.gid) : undefined;
  if (!api || !payload) return undefined;
  const { resources } = payload as { readonly resources?: Readonly<Record<string, string>> };
  const ofApi = splitScope(resources?.[api.api]);
  const scopes = policy.userinfoScopes(recordOf(client), api.api, { ofApi, forUserinfo: splitScope(claims.scope) });
  if (scopes.length === 0) return undefined;
  const { gid, exp, iat, jti, cnf, userinfo_claims = [] } = claims;
  const single = userinfo_claims.filter((claim) => isAgreed(ofApi, claim));
  // the library looks for the grant by the name that the token gives it
  prefetch({ grant: { id: sha256(gid), payload } });
  const { AccessToken } = internalsOf(provider);
  return new AccessToken({
    client,
    accountId: payload.accountId,
    grantId: gid,
    scope: scopes.join(' '),
    exp,
    iat,
    jti,
    jkt: cnf?.jkt,
    'x5t#S256': cnf?.['x5t#S256'],
    ...(single.length > 0 && { claims: { userinfo: Object.fromEntries(single.map((claim) => [claim, null])) } }),
  });
}

/**
 * The name that a person logs in with, for introspection (`username`, RFC 7662, 2.2). It is their e-mail address, so it is
 * told only of a token that would give the address at userinfo.
 */
export class Usernames {
  readonly #settings: Omit<UserinfoTokensSettings, 'tokens'> & { readonly clients: ClientDirectory };

  constructor(settings: Omit<UserinfoTokensSettings, 'tokens'> & { readonly clients: ClientDirectory }) {
    this.#settings = settings;
  }

  /** `undefined` at once, without a query, for a token that does not give the address. */
  async ofJwt(claims: AccessTokenClaims): Promise<string | undefined> {
    const { clients, policy, issuer, database } = this.#settings;
    const client = await clients.find(claims.client_id);
    if (!client || claims.gid === undefined) return undefined;
    const audience = readAudience(claims.aud, issuer);
    if (!audience?.withUserinfo) return undefined;
    const scopes = splitScope(claims.scope);
    // whether the person lets the API read it is in the grant
    const possible = policy.userinfoScopes(client, audience.api, { ofApi: scopes, forUserinfo: scopes });
    if (!possible.includes('email')) return undefined;
    return emailOf(database, Buffer.from(claims.gid, 'base64url') as Digest, audience.api);
  }

  /** For the opaque tokens of the library: those for userinfo, and refresh tokens. */
  async ofStored(
    client: ClientWithSecrets,
    { scope, grantId }: { readonly scope?: string | undefined; readonly grantId?: string | undefined },
  ): Promise<string | undefined> {
    if (grantId === undefined || !stillRegistered(client.metadata, splitScope(scope)).includes('email'))
      return undefined;
    return emailOf(this.#settings.database, sha256(grantId));
  }
}

/** `undefined` if the grant has ended, or does not let the API, if there is one, read the address. */
async function emailOf(database: Database, grantId: Digest, api?: string): Promise<string | undefined> {
  const permits =
    api === undefined ? sql`` : sql`and 'email' = any(string_to_array(payload->'resources'->>${api}::text, ' '))`;
  const { rows } = await sql<{ readonly email: string }>`
    select email from grants join accounts using (account_id)
    where grant_id = ${grantId} ${permits}`.execute(database);
  return rows[0]?.email;
}
