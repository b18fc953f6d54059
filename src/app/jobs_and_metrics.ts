/** What keeps a node well, and shows how it is: jobs, gauges, readiness. */
import { keepPartitions as keepPartitionsOf } from '../audit/upkeep.ts';
import { asOwner } from '../db/roles.ts';
import type { Readiness } from '../http/management.ts';
import { countLogLines, type Metrics } from '../http/metrics.ts';
import { removeExpiredRows } from '../maintenance/expired_rows.ts';
import type { Job } from '../maintenance/scheduler.ts';
import { removeUnusedClients } from '../registration/unused_clients.ts';
import type { AppSettings, Node } from './node.ts';

/** What this node does again and again, whether anyone asks or not: nobody has to schedule anything elsewhere. */
export function jobs({ config, database, clock, siblings }: AppSettings, house: Node): readonly Job[] {
  // any number of nodes may do these at once, but one of a node's processes is enough
  const forAll: readonly Job[] = [
    { name: 'key_rotation', everyMilliseconds: 60_000, run: () => house.rotation.runSchedule(clock()) },
    {
      name: 'expired_rows',
      everyMilliseconds: 60_000,
      run: (signal) => removeExpiredRows(database, clock(), { signal }),
    },
    {
      name: 'unused_clients',
      everyMilliseconds: 300_000,
      run: () => removeUnusedClients(database, house.trail, clock()),
    },
    { name: 'audit_partitions', everyMilliseconds: 600_000, run: keepPartitions },
  ];
  const all: readonly Job[] = [
    ...((siblings?.first ?? true) ? forAll : []),
    {
      name: 'secret_uses',
      everyMilliseconds: 20_000,
      run: (signal) => house.uses.write({ pauseMilliseconds: 50, signal }),
    },
    { name: 'repeated_refusals', everyMilliseconds: 60_000, run: () => house.trail.refusals.write() },
    {
      name: 'audit_checkpoint',
      everyMilliseconds: config.auditCheckpointSeconds * 1000,
      run: () => house.checkpoints.make(),
    },
    { name: 'revoked_tokens', everyMilliseconds: 300_000, run: () => house.revoked.load(clock()) },
  ];
  // what is due, and what has expired, a clock that is wrong doesn't know
  return all.map((job) => ({ ...job, run: async (signal) => house.difference.tooFar || job.run(signal) }));

  async function keepPartitions(): Promise<void> {
    await asOwner(config.ownerDatabaseUrl, database, (owner) =>
      keepPartitionsOf(owner, house.trail, clock(), config.auditRetentionDays),
    );
  }
}

export function showGauges(metrics: Metrics, { pool, linesDropped = () => 0 }: AppSettings, house: Node): void {
  countLogLines(metrics, linesDropped);
  metrics.gauge(
    'gatehouse_outbox_messages_waiting',
    'Messages to clients, of all nodes, that are not delivered yet.',
    () => house.outbox.counts.waiting,
    'max',
  );
  metrics.gauge(
    'gatehouse_outbox_messages_failed',
    'Messages to clients, of all nodes, that were given up in the last seven days.',
    () => house.outbox.counts.failed,
    'max',
  );
  metrics.gauge(
    'gatehouse_audit_events_waiting',
    'Requests whose audit events are not written yet.',
    () => house.trail.waiting,
  );
  metrics.gauge(
    'gatehouse_audit_checkpoint_age_seconds',
    'How long ago this node last saw to it that every audit entry is under a signed checkpoint.',
    () => house.checkpoints.ageMilliseconds() / 1000,
    'max',
  );
  metrics.gauge(
    'gatehouse_change_log_age_seconds',
    'How long ago this node last read the change log.',
    () => house.changes.ageMilliseconds() / 1000,
    'max',
  );
  metrics.gauge(
    'gatehouse_event_loop_late_milliseconds',
    'How late this process is with its own work.',
    () => house.traffic.eventLoopDelayMilliseconds,
    'max',
  );
  metrics.eventLoop(() => house.traffic.takeEventLoopDelays());
  const { breaker, standing, difference } = house;
  metrics.gauge(
    'gatehouse_clock_difference_seconds',
    "How far this machine's clock is ahead of the database's, at least; less than 0: behind it.",
    () => difference.seconds,
    'average',
  );
  metrics.counters(
    'gatehouse_requests_refused_total',
    'Requests refused by a limit, or for want of time.',
    'limit',
    () => ({
      ...house.traffic.refused,
      failed_authentication: house.failures.refused,
    }),
  );
  metrics.counters(
    'gatehouse_authentications_failed_total',
    'Wrong credentials of clients: refused with 401 within the limits, or with 429 past them.',
    'status',
    () => ({ 401: house.failures.counted, 429: house.failures.refused }),
  );
  metrics.gauges(
    'gatehouse_egress_places',
    'Places outside that were asked lately, by the state of their breakers.',
    'state',
    () => house.egress.places,
  );
  metrics.gauge(
    'gatehouse_passwords_waiting',
    'Passwords and chosen secrets that wait to be looked at.',
    () => house.argon2id.waiting,
  );
  metrics.gauge(
    'gatehouse_database_breaker',
    'Whether the database is there: 0 it is, 1 it is away, 2 it is being tried.',
    () => breaker.state,
    'max',
  );
  metrics.gauge(
    'gatehouse_outage_seconds_left',
    'For how long known clients could still be served from memory if the database stayed away.',
    () => standing.secondsLeft,
    'min',
  );
  metrics.gauge(
    'gatehouse_audit_entries_held',
    'Audit entries that wait in memory for the database to return.',
    () => standing.held.count,
  );
  metrics.counter(
    'gatehouse_audit_entries_held_written_total',
    'Audit entries that had to wait in memory and were written since.',
    () => standing.held.written,
  );
  metrics.gauge('gatehouse_clients_cached', 'Clients held in memory.', () => house.clients.cacheSize.clients);
  metrics.gauge(
    'gatehouse_clients_cached_bytes',
    'How long the clients held in memory are as text; they take up twice that.',
    () => house.clients.cacheSize.bytes,
  );
  metrics.gauge('gatehouse_database_connections', 'Connections open to the database.', () => pool.totalCount);
  metrics.gauge('gatehouse_database_connections_idle', 'Connections that wait for work.', () => pool.idleCount);
  metrics.gauge('gatehouse_database_requests_waiting', 'Queries that wait for a connection.', () => pool.waitingCount);
}

/** A node that hasn't read the change log for this long may not know who was revoked. */
const CHANGE_LOG_STALE_MILLISECONDS = 5_000;

/** What a look may come later than the one before, beside what it takes: probes ask for what was seen last. */
const LOOKS_MILLISECONDS = 3_000;

/** A node that serves from memory stays in traffic: all of them lose the database at once, and would leave together. */
export function readiness({ config }: AppSettings, house: Node, draining: boolean): Readiness {
  const { breaker, standing, difference } = house;
  breaker.noteUse();
  const reachable =
    !breaker.open && breaker.unseenMilliseconds < config.databasePatienceMilliseconds + LOOKS_MILLISECONDS;
  const stands = !reachable && standing.away && standing.permits;
  const fresh = house.changes.ageMilliseconds() < CHANGE_LOG_STALE_MILLISECONDS;
  return {
    ready: ((reachable && fresh) || stands) && !difference.tooFar && !draining,
    checks: {
      database: reachable ? 'ok' : stands ? awayFor(standing.secondsLeft) : 'not reachable',
      change_log: fresh ? 'ok' : 'not read for a while',
      clock: difference.tooFar ? difference.inWords : 'ok',
      // for whoever reads it: that a client's server is down is no reason to take traffic from this one
      egress: resting(house.egress.places),
      shutdown: draining ? 'draining' : 'ok',
    },
  };
}

function resting({ open, half_open }: Node['egress']['places']): string {
  const places = open + half_open;
  return places === 0 ? 'ok' : `${places} of the places outside ${places === 1 ? 'rests' : 'rest'}`;
}

function awayFor(secondsLeft: number): string {
  return `away, serving known clients for ${Math.ceil(secondsLeft)} s more`;
}
