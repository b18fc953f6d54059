/**
 * How long sessions last. Those of people who administer this server end sooner: a stolen one is worth more (NIST SP
 * 800-63B-4, 2.2.3 and 2.3.3).
 */
import type { AdapterPayload } from 'oidc-provider';
import { epochSeconds } from '../../base/clock.ts';
import type { Database } from '../../db/connection.ts';
import { readMemberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';

const OF_ADMINS = { sessionTtlSeconds: 3_600, sessionAbsoluteTtlSeconds: 43_200 } as const;

/**
 * The lifetime in seconds of a session that is used now, for `ttl`: the idle time-out, but not beyond the absolute
 * time-out. The absolute one starts at the last login, even one that only confirmed the person's identity (ASVS 5.0,
 * 7.3).
 */
export function sessionSeconds(
  { loginTs }: { readonly loginTs?: number | undefined },
  {
    sessionTtlSeconds,
    sessionAbsoluteTtlSeconds,
  }: { readonly sessionTtlSeconds: number; readonly sessionAbsoluteTtlSeconds: number },
  now: Date,
): number {
  if (loginTs === undefined) return sessionTtlSeconds;
  const left = loginTs + sessionAbsoluteTtlSeconds - epochSeconds(now);
  return Math.max(1, Math.min(sessionTtlSeconds, left));
}

/** True if the session's login was less than `absoluteSeconds` ago. */
export function isYoungEnough({ loginTs }: AdapterPayload, absoluteSeconds: number, now: Date): boolean {
  return loginTs === undefined || loginTs + absoluteSeconds > epochSeconds(now);
}

/** The lifetime in seconds of a session that is stored now: at most `ttl`, and less for a person who administers. */
export async function secondsFor(
  { accountId, loginTs }: AdapterPayload,
  ttl: number,
  { database, roles }: { readonly database: Database; readonly roles: RoleDirectory },
  now: Date,
): Promise<number> {
  if (accountId === undefined || !roles.hasGroups) return ttl;
  if (!roles.administers(await readMemberships(database, accountId))) return ttl;
  return Math.min(ttl, sessionSeconds({ loginTs }, OF_ADMINS, now));
}
