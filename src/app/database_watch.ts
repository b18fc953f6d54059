/** Watches the database: its availability, its clock compared with this machine's, and the connection pool. */
import type pg from 'pg';
import type { Clock } from '../base/clock.ts';
import { Breaker } from '../db/breaker.ts';
import { ClockDifference } from '../db/clock_difference.ts';
import type { Database } from '../db/connection.ts';
import { guard } from '../db/connections.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';

export interface ClockComparisonSettings {
  readonly database: Database;
  /** The greatest difference that is allowed; 0 allows any difference. */
  readonly clockDifferenceSeconds: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Compares the clocks of this machine and the database. Throws `CannotStart` if they differ too much. */
export async function compareClocks({
  database,
  clockDifferenceSeconds,
  clock,
  log,
}: ClockComparisonSettings): Promise<{ readonly difference: ClockDifference; readonly feature: Feature }> {
  const difference = new ClockDifference({
    clock,
    atMostSeconds: clockDifferenceSeconds,
    onChange: ({ tooFar, seconds }) =>
      tooFar ? log.error({ seconds }, 'clock.differs') : log.info({ seconds }, 'clock.agrees'),
  });
  await difference.requireAgreement(database);
  const feature: Feature = {
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_clock_difference_seconds',
        "How far this machine's clock is ahead of the database's, at least; less than 0: behind it.",
        () => difference.seconds,
        'average',
      );
    },
    checks: {
      clock: () => ({ ready: !difference.tooFar, says: difference.tooFar ? difference.inWords : 'ok' }),
    },
  };
  return { difference, feature };
}

export interface DatabaseWatchSettings {
  readonly pool: pg.Pool;
  readonly databaseUrl: string;
  readonly databasePatienceMilliseconds: number;
  readonly difference: ClockDifference;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Creates the breaker. From the feature's start on, it refuses connections of the pool while the database is away. */
export function watchDatabase({
  pool,
  databaseUrl,
  databasePatienceMilliseconds,
  difference,
  clock,
  log,
}: DatabaseWatchSettings): { readonly breaker: Breaker; readonly feature: Feature } {
  const breaker = new Breaker({
    connectionString: databaseUrl,
    patienceMilliseconds: databasePatienceMilliseconds,
    clock,
    difference,
    onOpen: (error) => log.error({ error }, 'database.away'),
    onClose: () => log.info('database.back'),
  });
  const feature: Feature = {
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_database_breaker',
        'Whether the database is there: 0 it is, 1 it is away, 2 it is being tried.',
        () => breaker.state,
        'max',
      );
      metrics.gauge('gatehouse_database_connections', 'Connections open to the database.', () => pool.totalCount);
      metrics.gauge('gatehouse_database_connections_idle', 'Connections that wait for work.', () => pool.idleCount);
      metrics.gauge(
        'gatehouse_database_requests_waiting',
        'Queries that wait for a connection.',
        () => pool.waitingCount,
      );
    },
    async start() {
      guard(pool, breaker);
      // opens the breaker's own connection now, so that the first probe of an outage does not have to
      await breaker.check();
      breaker.start();
    },
    stop: () => breaker.stop(),
  };
  return { breaker, feature };
}
