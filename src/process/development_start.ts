/** Refuses to start as a development server where others may rely on what it would change. */
import { CannotStart } from '../base/cannot_start.ts';
import type { Config } from '../config.ts';
import { isLoopback } from '../config/value_types.ts';

/**
 * A development server makes an admin client, a demo client and a demo account, and replaces their secrets. Without
 * NODE_ENV it does so only if nobody but this machine can reach it and its database is the embedded one. Throws
 * `CannotStart` otherwise.
 */
export function requireKnownEnvironment(config: Config): void {
  if (config.production || config.developmentIsSaid) return;
  const reason = reachesFurther(config);
  if (reason === undefined) return;
  throw new CannotStart(
    `NODE_ENV must be set, because ${reason}: to production for a server that others use, or to development to have an admin client, a demo client and a demo account made in its database.`,
  );
}

function reachesFurther({ issuer, host, tls, databaseUrl }: Config): string | undefined {
  if (!isLoopback(new URL(issuer).hostname)) return 'ISSUER is not an address of this machine alone';
  if (!isLoopback(host)) return 'HOST is not an address of this machine alone';
  if (tls && !isLoopback(tls.host)) return 'GATEHOUSE_TLS_HOST is not an address of this machine alone';
  if (databaseUrl !== undefined) return 'DATABASE_URL names a database that others may use';
  return undefined;
}
