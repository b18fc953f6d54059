/** Follows the change log in this process and in the node's other processes, to invalidate their caches. */
import { FaultLog } from '../base/fault_log.ts';
import type { Clock } from '../base/clock.ts';
import type { Breaker } from '../db/breaker.ts';
import type { Database } from '../db/connection.ts';
import { InvalidationFollower } from '../invalidation/follower.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import type { SiblingWorkers } from './sibling_workers.ts';

export interface ChangeLogSettings {
  readonly database: Database;
  readonly connectionString: string | undefined;
  readonly changePollMilliseconds: number;
  readonly breaker: Breaker;
  readonly siblings: SiblingWorkers | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Creates the follower. It starts together with the caches (lifecycle/lifecycle.ts). */
export function followChangeLog({
  database,
  connectionString,
  changePollMilliseconds,
  breaker,
  siblings,
  clock,
  log,
}: ChangeLogSettings): { readonly changes: InvalidationFollower; readonly feature: Feature } {
  // each poll fails while the database is away
  const faults = new FaultLog(log, {
    begins: 'change_log.unreadable',
    goesOn: 'change_log.still_unreadable',
    ends: 'change_log.readable_again',
  });
  const onError = (error: unknown): void => faults.failed('change_log', { error });
  const changes = new InvalidationFollower({
    database,
    connectionString,
    pollMilliseconds: changePollMilliseconds,
    clock,
    onError,
    atRest: () => breaker.atRest,
    catchUpOthers: siblings && (() => siblings.catchUp()),
  });
  changes.onReplaced((why) => log.warn({ why }, 'database.replaced'));
  siblings?.onCatchUp(() => changes.catchUpHere());
  breaker.onClose(() => {
    faults.worked('change_log', {});
    void changes.catchUpHere().catch(onError);
  });
  const feature: Feature = {
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_change_log_age_seconds',
        'How long ago this node last read the change log.',
        () => changes.ageMilliseconds() / 1000,
        'max',
      );
    },
    stop: () => changes.stop(),
  };
  return { changes, feature };
}
