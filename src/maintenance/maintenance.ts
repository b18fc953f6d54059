/** Maintains the database: removes expired rows, and makes a restored database safe to use (recovery.ts). */
import type { Clock } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { removeExpiredRows } from './expired_rows.ts';

interface MaintenanceSettings {
  readonly database: Database;
  readonly clock: Clock;
}

export function createMaintenance({ database, clock }: MaintenanceSettings): { readonly feature: Feature } {
  const feature: Feature = {
    jobs: [
      {
        name: 'expired_rows',
        everyMilliseconds: 60_000,
        oncePerNode: true,
        run: (signal) => removeExpiredRows(database, clock(), { signal }),
      },
    ],
  };
  return { feature };
}
