/**
 * Decides whether a JWT access token of this server is valid. It is invalid if its signature is wrong, if it has
 * expired, if its client was deleted or revoked since (the token generation differs), if its grant has ended, if its API
 * was deleted since, or if the token itself was revoked. An exchanged token is also invalid if one of its parents is, or if
 * the issuer that asserted its subject is no longer trusted.
 */
import { epochSeconds } from '../../base/clock.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { Database } from '../../db/connection.ts';
import type { AccessTokenClaims, ParentToken, TokenVerifier } from '../../keys/token_verifier.ts';
import { OPENID_SCOPES, type Resource } from '../../resources/resource.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import { isAllowedToUse } from '../../roles/allowed_groups.ts';
import { NO_MEMBERSHIPS, type Memberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { readAudience, scopeForApi } from '../issuance/userinfo_audience.ts';
import { grantLives, readGranter, type Granter } from '../storage/grant_store.ts';
import type { RevokedTokens } from './revoked_tokens.ts';

export interface AccessTokenStatesSettings {
  readonly issuer: string;
  readonly roles: RoleDirectory;
  readonly database: Database;
  readonly verifier: TokenVerifier;
  readonly clients: ClientDirectory;
  readonly resources: Pick<ResourceDirectory, 'get'>;
  readonly revoked: RevokedTokens;
  readonly isTrusted: (issuer: string) => boolean;
  /** Throws if this node's knowledge of revocations is too old to decide. */
  readonly vouch: () => void;
}

export class AccessTokenStates {
  readonly #settings: AccessTokenStatesSettings;

  constructor(settings: AccessTokenStatesSettings) {
    this.#settings = settings;
  }

  /**
   * The claims of a valid token of this server, else `undefined`. `scope` is without the scopes that were removed from the
   * API since, even if it has other ones of the same names. The scope of a person's token has what the person may have now.
   */
  async inspect(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    return (await this.examine(token, now))?.claims;
  }

  /** The same, with the person whose grant is behind the token. */
  async examine(token: string, now: Date): Promise<ExaminedToken | undefined> {
    const valid = await this.#validate(token, now);
    if (!valid) return undefined;
    const { granter } = valid;
    const lasting = this.#withLastingScopes(valid.claims);
    const memberships = membershipsBehind(lasting, granter);
    const claims = memberships ? await this.#narrow(lasting, memberships) : lasting;
    return claims && { claims, granter };
  }

  /** The claims as they were signed: a token can be revoked although its person may use it for nothing now. */
  async verify(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    return (await this.#validate(token, now))?.claims;
  }

  async #validate(token: string, now: Date): Promise<ExaminedToken | undefined> {
    this.#settings.vouch();
    const claims = await this.#settings.verifier.verify(token, now);
    if (!claims || !(await this.#isUsable(claims, now))) return undefined;
    const { database, roles } = this.#settings;
    const { gid, parents = [] } = claims;
    const granter =
      gid === undefined ? undefined : await readGranter(database, gid, { now, withGroups: roles.hasGroups });
    if (gid !== undefined && !granter) return undefined;
    for (const parent of parents) {
      if (!(await this.#isUsable(parent, now))) return undefined;
      if (parent.gid !== undefined && !(await grantLives(database, parent.gid, now))) return undefined;
    }
    return { claims, granter };
  }

  #withLastingScopes(claims: AccessTokenClaims): AccessTokenClaims {
    const { aud, iat, scope } = claims;
    const added = this.#apiOf(aud)?.scopesValidFrom;
    if (scope === undefined || !added) return claims;
    const names = scope.split(' ');
    const lasting = names.filter((name) => OPENID.has(name) || wasMadeBefore(added.get(name), iat));
    if (lasting.length === names.length) return claims;
    const { scope: _, ...others } = claims;
    return lasting.length > 0 ? { ...others, scope: lasting.join(' ') } : others;
  }

  #apiOf(aud: string | string[]): Resource | undefined {
    const { resources, issuer } = this.#settings;
    const audience = readAudience(aud, issuer);
    return audience && resources.get(audience.api);
  }

  /** Everything but the grant. */
  async #isUsable(token: ParentToken, now: Date): Promise<boolean> {
    const { client_id, gen, jti, asserted_by: issuer } = token;
    const { clients, revoked, isTrusted } = this.#settings;
    if (issuer !== undefined && !isTrusted(issuer)) return false;
    if (!this.#hasItsApi(token)) return false;
    const client = await clients.find(client_id);
    if (!client || client.revokedAt || client.tokenGeneration !== gen) return false;
    return !(await revoked.has(jti, now));
  }

  /** `undefined` if the person may not use the client any more, or has no scope of the API left. */
  async #narrow(claims: AccessTokenClaims, memberships: Memberships): Promise<AccessTokenClaims | undefined> {
    const { clients, roles, issuer } = this.#settings;
    const client = await clients.find(claims.client_id);
    if (!client || !isAllowedToUse(client.metadata, memberships)) return undefined;
    const audience = readAudience(claims.aud, issuer);
    const permits = audience && roles.permits(audience.api, memberships);
    if (!permits) return claims;
    const isDetailed = claims['authorization_details'] !== undefined;
    if (isDetailed && !this.#apiOf(claims.aud)?.scopes.some(({ name }) => permits(name))) return undefined;
    const ofApi = splitScope(scopeForApi(claims.scope));
    const withheld = new Set(ofApi.filter((scope) => !permits(scope)));
    if (withheld.size === 0) return claims;
    const left = splitScope(claims.scope).filter((scope) => !withheld.has(scope));
    if (left.length === 0 && !isDetailed) return undefined;
    const { scope: _, ...others } = claims;
    return left.length > 0 ? { ...others, scope: left.join(' ') } : others;
  }

  /**
   * Whether the API of the token exists, and not only one that was made later with the same identifier. Tokens of earlier
   * releases do not name the APIs of their parents.
   */
  #hasItsApi({ aud, iat }: ParentToken): boolean {
    if (aud === undefined || iat === undefined) return true;
    return wasMadeBefore(this.#apiOf(aud)?.tokensValidFrom, iat);
  }
}

/** The groups of the person that a token is about, none without an account; `undefined` for a program's own token. */
export function membershipsBehind(
  { asserted_by: issuer }: Pick<AccessTokenClaims, 'asserted_by'>,
  granter: Granter | undefined,
): Memberships | undefined {
  return granter?.memberships ?? (issuer === undefined ? undefined : NO_MEMBERSHIPS);
}

const OPENID: ReadonlySet<string> = new Set(OPENID_SCOPES);

/**
 * Whether an API or scope exists, and existed when the token was issued. `iat` has whole seconds; a token of the second in
 * which something was made counts as issued for it, so that the first tokens of an API work.
 */
function wasMadeBefore(made: Date | undefined, iat: number): boolean {
  return made !== undefined && epochSeconds(made) <= iat;
}

export interface ExaminedToken {
  readonly claims: AccessTokenClaims;
  /** Set where a person's grant is behind the token. */
  readonly granter?: Granter | undefined;
}
