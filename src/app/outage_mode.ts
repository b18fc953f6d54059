/**
 * What this node still does while the database is away: it serves known clients from memory for a limited time, as long
 * as their audit entries fit into the outage buffer. The age of the change log says how old the node's knowledge is: it
 * can't know of a client that was revoked through another node, which still reached the database.
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
  /** 0: nothing is served from memory. */
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

  /** The rest of the time that is allowed. */
  get secondsLeft(): number {
    const { allowedSeconds, changes, held } = this.#parts;
    // a database that comes and goes, and never takes the entries that are held, is away, too
    const age = Math.max(changes.ageMilliseconds(), held.ageMilliseconds());
    return Math.max(0, allowedSeconds - age / 1000);
  }

  get permits(): boolean {
    return this.secondsLeft > 0 && !this.held.full;
  }

  check(): Promise<boolean> {
    return this.#parts.breaker.check();
  }

  /** Throws `Unavailable` if this node's knowledge is too old to rely on. */
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

/** A node that has not read the change log for so long may lack revocations. */
const CHANGE_LOG_STALE_MILLISECONDS = 5_000;

/** The longest time between two looks at the database; a probe gets the result of the last one. */
const LOOKS_MILLISECONDS = 3_000;

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

/** A node that serves from memory stays ready: all nodes lose the database at once, and no node would be left. */
function checks(
  { breaker, changes, databasePatienceMilliseconds }: OutageModeSettings,
  outage: OutageMode,
): Record<'database' | 'change_log', () => CheckResult> {
  const isReachable = (): boolean =>
    !breaker.open && breaker.unseenMilliseconds < databasePatienceMilliseconds + LOOKS_MILLISECONDS;
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

/** More than the longest pause between two looks. */
const LAST_CHANCE_MILLISECONDS = 1_200;

/** If the database does not return in time, the entries are lost with this process. */
async function writeHeldEntries(breaker: Breaker, held: OutageBuffer, log: Logger): Promise<void> {
  const until = performance.now() + LAST_CHANCE_MILLISECONDS;
  while (held.count > 0) {
    if (await breaker.check()) continue;
    if (performance.now() > until) break;
    await delay(50);
  }
  if (held.count > 0) log.error({ entries: held.count }, 'audit.entries_lost');
}
