/**
 * Limits what this node does while the database is away. It serves known clients from memory for a limited time, and
 * only while their audit entries fit into the outage buffer. The time is limited because another node may still reach
 * the database and revoke a client there. The time since the last read of the change log is the age of this node's
 * data.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditKeys } from '../audit/audit_keys.ts';
import { OutageBuffer } from '../audit/outage_buffer.ts';
import type { Outage } from '../audit/trail.ts';
import type { Clock } from '../base/clock.ts';
import { Unavailable } from '../base/unavailable.ts';
import type { Breaker } from '../db/breaker.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { CheckResult, Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';

interface OutageModeParts {
  readonly breaker: Breaker;
  readonly changes: InvalidationFollower;
  readonly held: OutageBuffer;
  /** The longest time in which the node serves from memory; 0: it does not. */
  readonly allowedSeconds: number;
}

class OutageMode implements Outage {
  readonly #parts: OutageModeParts;

  constructor(parts: OutageModeParts) {
    this.#parts = parts;
  }

  get away(): boolean {
    return this.#parts.breaker.open;
  }

  get held(): OutageBuffer {
    return this.#parts.held;
  }

  /** The rest of the allowed time. */
  get secondsLeft(): number {
    const { allowedSeconds, changes, held } = this.#parts;
    // the held entries count, too: the database may return for short times in which they can't be written
    const age = Math.max(changes.ageMilliseconds(), held.ageMilliseconds());
    return Math.max(0, allowedSeconds - age / 1000);
  }

  get permits(): boolean {
    return this.secondsLeft > 0 && !this.held.full;
  }

  check(): Promise<boolean> {
    return this.#parts.breaker.check();
  }

  /** Throws `Unavailable` if this node's data is too old to rely on. */
  vouch = (): void => {
    if (this.away && this.secondsLeft === 0) throw new Unavailable('What is known here is too old.');
  };
}

export interface OutageModeSettings {
  readonly breaker: Breaker;
  readonly changes: InvalidationFollower;
  readonly auditKeys: AuditKeys;
  readonly outageSeconds: number;
  readonly outageAuditEvents: number;
  readonly databasePatienceMilliseconds: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** After this time without reading the change log, a node may lack revocations. */
const CHANGE_LOG_STALE_MILLISECONDS = 5_000;

/** The longest time between two checks of the database. A readiness probe gets the result of the last check. */
const CHECK_INTERVAL_MILLISECONDS = 3_000;

export function createOutageMode(settings: OutageModeSettings): {
  readonly outage: OutageMode;
  readonly feature: Feature;
} {
  const { breaker, changes, auditKeys, outageAuditEvents, outageSeconds, clock, log } = settings;
  const held = new OutageBuffer({
    keys: auditKeys,
    clock,
    entriesAtMost: outageAuditEvents,
    identity: () => changes.identity,
  });
  const outage = new OutageMode({ breaker, changes, held, allowedSeconds: outageSeconds });
  const feature: Feature = {
    checks: checks(settings, outage),
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_outage_seconds_left',
        'For how long known clients could still be served from memory if the database stayed away.',
        () => outage.secondsLeft,
        'min',
      );
      metrics.gauge(
        'gatehouse_audit_entries_held',
        'Audit entries that wait in memory for the database to return.',
        () => held.count,
      );
      metrics.counter(
        'gatehouse_audit_entries_held_written_total',
        'Audit entries that had to wait in memory and were written since.',
        () => held.written,
      );
    },
    stop: () => writeHeldEntries(breaker, held, log),
  };
  return { outage, feature };
}

/**
 * A node that serves from memory stays ready. All nodes lose the database at once, so otherwise none would be ready.
 */
function checks(
  { breaker, changes, databasePatienceMilliseconds }: OutageModeSettings,
  outage: OutageMode,
): Record<'database' | 'change_log', () => CheckResult> {
  const isReachable = (): boolean =>
    !breaker.open && breaker.unseenMilliseconds < databasePatienceMilliseconds + CHECK_INTERVAL_MILLISECONDS;
  const servesFromMemory = (): boolean => !isReachable() && outage.away && outage.permits;
  return {
    database() {
      breaker.noteUse();
      if (isReachable()) return { ready: true, says: 'ok' };
      if (!servesFromMemory()) return { ready: false, says: 'not reachable' };
      return { ready: true, says: `away, serving known clients for ${Math.ceil(outage.secondsLeft)} s more` };
    },
    change_log() {
      const fresh = changes.ageMilliseconds() < CHANGE_LOG_STALE_MILLISECONDS;
      return { ready: fresh || servesFromMemory(), says: fresh ? 'ok' : 'not read for a while' };
    },
  };
}

/** The time for the last attempt, longer than the longest pause between two checks of the database. */
const FINAL_WRITE_MILLISECONDS = 1_200;

/** Writes the held entries before the process ends. If the database does not return in time, they are lost. */
async function writeHeldEntries(breaker: Breaker, held: OutageBuffer, log: Logger): Promise<void> {
  const until = performance.now() + FINAL_WRITE_MILLISECONDS;
  while (held.count > 0) {
    if (await breaker.check()) continue;
    if (performance.now() > until) break;
    await delay(50);
  }
  if (held.count > 0) log.error({ entries: held.count }, 'audit.entries_lost');
}
