/** Refuses to start a development server that may change data of others. */
import { CannotStart } from '../base/cannot_start.ts';
import { isLoopback } from '../base/loopback.ts';
import type { Config } from '../config.ts';

/**
 * A development server makes an admin client, a demo client and a demo account, and replaces their secrets. Without
 * NODE_ENV it does so only if all its addresses are loopback addresses and its database is the embedded one. Throws
 * `CannotStart` otherwise.
 */
export function requireKnownEnvironment(config: Config): void {
  if (config.production || config.developmentIsSaid) return;
  const reason = sharedSettingOf(config);
  if (reason === undefined) return;
  throw new CannotStart(
    `NODE_ENV must be set, because ${reason}: to production for a server that others use, or to development to make an admin client, a demo client and a demo account in its database.`,
  );
}

function sharedSettingOf({ issuer, host, tls, databaseUrl }: Config): string | undefined {
  if (!isLoopback(new URL(issuer).hostname)) return 'ISSUER is not a loopback address';
  if (!isLoopback(host)) return 'HOST is not a loopback address';
  if (tls && !isLoopback(tls.host)) return 'GATEHOUSE_TLS_HOST is not a loopback address';
  if (databaseUrl !== undefined) return 'DATABASE_URL names a database that others may use';
  return undefined;
}
