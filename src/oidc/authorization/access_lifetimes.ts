/** How long an application has access that a person allows it, for the pages where they decide (ASVS 5.0, 10.7.2). */
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
  /** With what it ends, unless it is taken back before. */
  readonly endsWith: 'grant' | 'session' | 'token';
  /** After which time at the latest. */
  readonly seconds: number;
  /** How long it may lie unused, where that ends it before. */
  readonly unusedSeconds?: number | undefined;
}

export interface AskedAccess {
  readonly openid: readonly string[];
  readonly resources: readonly string[];
  /** Whether no session of the person's is part of it (CIBA). */
  readonly withoutSession?: boolean;
}

/** `undefined` where there is no such client. */
export type AccessLifetimeOf = (clientId: string, asked: AskedAccess) => Promise<AccessLifetime | undefined>;

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
    // a refresh token that is never replaced lasts as long as its grant
    const unusedSeconds =
      isFapi2(metadata) || refreshTtlSeconds >= refreshAbsoluteTtlSeconds ? undefined : refreshTtlSeconds;
    if (withoutSession || openid.includes('offline_access')) {
      return { endsWith: 'grant', seconds: refreshAbsoluteTtlSeconds, unusedSeconds };
    }
    return { endsWith: 'session', seconds: Math.min(sessionAbsoluteTtlSeconds, refreshAbsoluteTtlSeconds) };
  };
}
