/**
 * Whether a JWT access token of ours is alive. It is dead when its signature or its time is over, when its client was
 * revoked or deleted since (the generation says so), when its grant is gone, or when it was revoked by itself. A token
 * that was made from others is dead when one of those is, or when the issuer on whose word it was made is trusted no more.
 */
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { Database } from '../../db/connection.ts';
import type { AccessTokenClaims, ParentToken, TokenVerifier } from '../../keys/token_verifier.ts';
import { grantLives } from '../storage/grant_store.ts';
import type { RevokedTokens } from './revoked_tokens.ts';

export interface AccessTokenStatesSettings {
  readonly database: Database;
  readonly verifier: TokenVerifier;
  readonly clients: ClientDirectory;
  readonly revoked: RevokedTokens;
  readonly isTrusted: (issuer: string) => boolean;
  /** Throws where this node's knowledge of what was revoked is too old to be acted on. */
  readonly vouch: () => void;
}

export class AccessTokenStates {
  readonly #settings: AccessTokenStatesSettings;

  constructor(settings: AccessTokenStatesSettings) {
    this.#settings = settings;
  }

  /** The claims of a living token of ours, `undefined` for everything else. */
  async inspect(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    this.#settings.vouch();
    const claims = await this.#settings.verifier.verify(token, now);
    return claims && (await this.#lives(claims, now)) ? claims : undefined;
  }

  async #lives(claims: AccessTokenClaims, now: Date): Promise<boolean> {
    const { parents = [] } = claims;
    for (const token of [claims, ...parents]) if (!(await this.#stands(token, now))) return false;
    return true;
  }

  async #stands({ client_id, gen, jti, gid, asserted_by: issuer }: ParentToken, now: Date): Promise<boolean> {
    const { clients, revoked, database, isTrusted } = this.#settings;
    if (issuer !== undefined && !isTrusted(issuer)) return false;
    const client = await clients.find(client_id);
    if (!client || client.revokedAt || client.tokenGeneration !== gen) return false;
    if (await revoked.has(jti, now)) return false;
    return gid === undefined || grantLives(database, gid, now);
  }
}
