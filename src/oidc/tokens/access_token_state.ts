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
import { readAudience } from '../issuance/userinfo_audience.ts';
import { grantLives } from '../storage/grant_store.ts';
import type { RevokedTokens } from './revoked_tokens.ts';

export interface AccessTokenStatesSettings {
  readonly issuer: string;
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
   * API since, even if it has other ones of the same names.
   */
  async inspect(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    this.#settings.vouch();
    const claims = await this.#settings.verifier.verify(token, now);
    return claims && (await this.#areAllValid(claims, now)) ? this.#withLastingScopes(claims) : undefined;
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

  async #areAllValid(claims: AccessTokenClaims, now: Date): Promise<boolean> {
    const { parents = [] } = claims;
    for (const token of [claims, ...parents]) if (!(await this.#isValid(token, now))) return false;
    return true;
  }

  async #isValid(token: ParentToken, now: Date): Promise<boolean> {
    const { client_id, gen, jti, gid, asserted_by: issuer } = token;
    const { clients, revoked, database, isTrusted } = this.#settings;
    if (issuer !== undefined && !isTrusted(issuer)) return false;
    if (!this.#hasItsApi(token)) return false;
    const client = await clients.find(client_id);
    if (!client || client.revokedAt || client.tokenGeneration !== gen) return false;
    if (await revoked.has(jti, now)) return false;
    return gid === undefined || grantLives(database, gid, now);
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

const OPENID: ReadonlySet<string> = new Set(OPENID_SCOPES);

/**
 * Whether an API or scope exists, and existed when the token was issued. `iat` has whole seconds; a token of the second in
 * which something was made counts as issued for it, so that the first tokens of an API work.
 */
function wasMadeBefore(made: Date | undefined, iat: number): boolean {
  return made !== undefined && epochSeconds(made) <= iat;
}
