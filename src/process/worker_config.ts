/** Derives a worker's settings from those of its node. */
import type { Config } from '../config.ts';

/**
 * Divides the settings that cost memory or connections. Limits by client or address stay whole: workers share their
 * counts.
 */
export function configOfWorker(config: Config): Config {
  return {
    ...config,
    databaseMaxConnections: Math.floor(config.databaseMaxConnections / config.workers),
    outageAuditEvents: Math.ceil(config.outageAuditEvents / config.workers),
  };
}
