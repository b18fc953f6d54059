/** How long an application keeps the access that a person grants, for the consent pages (ASVS 5.0, 10.7.2). */
import type { ClientDirectory } from '../../clients/client_directory.ts';
import { isFapi2 } from '../../clients/metadata/security_profile.ts';
import type { ResourceDirectory } from '../../resources/resource_directory.ts';
import { accessTokenSeconds } from '../issuance/access_token.ts';
import { OPAQUE_ACCESS_TOKEN_SECONDS } from '../provider/token_hooks.ts';

export interface AccessLifetimesSettings {
  readonly clients: ClientDirectory;
  readonly resources: ResourceDirectory;
  readonly refreshTtlSeconds: number;
  readonly refreshAbsoluteTtlSeconds: number;
  readonly sessionAbsoluteTtlSeconds: number;
}

export interface AccessLifetime {
  /** The event that ends the access, unless the person revokes it before. */
  readonly endsWith: 'grant' | 'session' | 'token';
  /** The maximum duration. */
  readonly seconds: number;
  /** The idle time-out of the refresh token, if it has one. */
  readonly unusedSeconds?: number | undefined;
}

export interface AskedAccess {
  readonly openid: readonly string[];
  readonly resources: readonly string[];
  /** True if the access does not depend on a session of the person (CIBA). */
  readonly withoutSession?: boolean;
}

/** Resolves to `undefined` if the client does not exist. */
export type AccessLifetimeOf = (clientId: string, asked: AskedAccess) => Promise<AccessLifetime | undefined>;

/**
 * Returns a function that computes the lifetime from the client's grant types, the requested scopes and the time-outs.
 */
export function accessLifetimes(settings: AccessLifetimesSettings): AccessLifetimeOf {
  const { clients, resources, refreshTtlSeconds, refreshAbsoluteTtlSeconds, sessionAbsoluteTtlSeconds } = settings;
  return async (clientId, { openid, resources: named, withoutSession = false }) => {
    const metadata = (await clients.find(clientId))?.metadata;
    if (!metadata) return undefined;
    if (!metadata.grant_types.includes('refresh_token')) {
      const ofApis = named.map((identifier) => resources.get(identifier)?.accessTokenTtlSeconds ?? 0);
      const longest = Math.max(...(ofApis.length > 0 ? ofApis : [OPAQUE_ACCESS_TOKEN_SECONDS]));
      return { endsWith: 'token', seconds: accessTokenSeconds(metadata, longest) };
    }
    // a refresh token that is never rotated lasts as long as its grant
    const unusedSeconds =
      isFapi2(metadata) || refreshTtlSeconds >= refreshAbsoluteTtlSeconds ? undefined : refreshTtlSeconds;
    if (withoutSession || openid.includes('offline_access')) {
      return { endsWith: 'grant', seconds: refreshAbsoluteTtlSeconds, unusedSeconds };
    }
    return { endsWith: 'session', seconds: Math.min(sessionAbsoluteTtlSeconds, refreshAbsoluteTtlSeconds) };
  };
}
