/** What the settings of a node mean for each of its workers. */
import type { Config } from '../config.ts';

/** What costs memory or connections is divided; what is counted by client or address the workers tell one another. */
export function configOfWorker(config: Config): Config {
  return {
    ...config,
    databaseMaxConnections: Math.floor(config.databaseMaxConnections / config.workers),
    outageAuditEvents: Math.ceil(config.outageAuditEvents / config.workers),
  };
}
