/**
 * The trail's monthly partitions: created ahead of time, and dropped as a whole when they are older than the retention
 * time. A default partition takes rows of any other time, so no insert fails for lack of a partition. Links and
 * checkpoints are kept one month longer than entries, so that each entry has its link and each such link its
 * checkpoint. Any node may do this at any time; an advisory lock makes concurrent nodes take turns.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Database, Tx } from '../db/connection.ts';
import { SYSTEM } from './events.ts';
import type { AuditTrail } from './trail.ts';

interface PartitionedTable {
  readonly name: 'audit_events' | 'audit_links' | 'audit_checkpoints';
  readonly column: string;
  /** How many months longer than entries its rows are kept. */
  readonly extraMonths: number;
}

const TABLES: readonly PartitionedTable[] = [
  { name: 'audit_events', column: 'occurred_at', extraMonths: 0 },
  { name: 'audit_links', column: 'begins_at', extraMonths: 1 },
  { name: 'audit_checkpoints', column: 'made_at', extraMonths: 1 },
];

const MONTHS_AHEAD = 2;
/** Longer than a batch takes, and too short for a request to notice. */
const LOCK_PATIENCE_MILLISECONDS = 25;
const ATTEMPTS = 20;
const PAUSE_MILLISECONDS = 250;

interface Partition {
  readonly name: string;
  /** `undefined`: no lower bound. */
  readonly from: Date | undefined;
  readonly to: Date;
}

export async function makePartitions(database: Database, now: Date): Promise<void> {
  const months = Array.from({ length: MONTHS_AHEAD + 1 }, (_, ahead) => plusMonths(monthOf(now), ahead));
  for (const table of TABLES) {
    const partitions = await partitionsOf(database, table);
    for (const month of months) {
      if (!isCovered(month, partitions)) await makePartition(database, table, month);
    }
  }
}

/** Drops the partitions whose rows are all older than `retainedFrom`, and records `audit.entries_dropped` for each. */
export async function dropPartitions(database: Database, trail: AuditTrail, retainedFrom: Date): Promise<void> {
  for (const table of TABLES) {
    const before = plusMonths(retainedFrom, -table.extraMonths);
    const old = (await partitionsOf(database, table)).filter(({ to }) => to <= before);
    for (const { name, to } of old) {
      const dropped = await withPartitionLock(database, async (tx) => {
        if (!(await exists(tx, name))) return false;
        await sql`drop table ${sql.table(name)}`.execute(tx);
        return true;
      });
      const details = { before: to.toISOString() };
      if (dropped && table.name === 'audit_events')
        await trail.record(SYSTEM, { event: 'audit.entries_dropped', outcome: 'success', details });
    }
  }
}

/** The first moment of the month in UTC. */
export function monthOf(time: Date): Date {
  return new Date(Date.UTC(time.getUTCFullYear(), time.getUTCMonth()));
}

function plusMonths(month: Date, count: number): Date {
  return new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + count));
}

function isCovered(month: Date, partitions: readonly Partition[]): boolean {
  return partitions.some(({ from, to }) => (from === undefined || from <= month) && month < to);
}

/**
 * Creates the table, moves the default partition's rows into it, then attaches it: others wait only for the last step.
 */
async function makePartition(
  database: Database,
  { name: table, column }: PartitionedTable,
  month: Date,
): Promise<void> {
  const name = `${table}_${month.toISOString().slice(0, 7).replace('-', '_')}`;
  const rest = `${table}_default`;
  const bounds = [month, plusMonths(month, 1)].map((time) => sql.lit(time.toISOString()));
  await withPartitionLock(database, async (tx) => {
    if (await exists(tx, name)) return;
    await sql`create table ${sql.table(name)} (like ${sql.table(table)} including defaults including constraints)`.execute(
      tx,
    );
    // a checkpoint updates each link once: vacuum early, so that PostgreSQL reuses the space of the old versions
    if (table === 'audit_links')
      await sql`alter table ${sql.table(name)} set (autovacuum_vacuum_scale_factor = 0.01)`.execute(tx);
    await sql`alter table ${sql.table(rest)} disable trigger user`.execute(tx);
    await sql`with moved as (delete from ${sql.table(rest)}
      where ${sql.ref(column)} >= ${month} and ${sql.ref(column)} < ${plusMonths(month, 1)} returning *)
      insert into ${sql.table(name)} select * from moved`.execute(tx);
    await sql`alter table ${sql.table(rest)} enable trigger user`.execute(tx);
    await sql`alter table ${sql.table(table)} attach partition ${sql.table(name)}
      for values from (${bounds[0]}) to (${bounds[1]})`.execute(tx);
    await sql`create trigger ${sql.ref(`${name}_never_emptied`)} before truncate on ${sql.table(name)}
      for each statement execute function refuse_change()`.execute(tx);
  });
}

/**
 * Runs `work` on one node at a time. Requests queue behind our wait for a table lock, so the wait is short, and `withPartitionLock`
 * tries again later.
 */
async function withPartitionLock<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await database.transaction().execute(async (tx) => {
        await sql`select pg_advisory_xact_lock(hashtext('gatehouse.audit_partitions'))`.execute(tx);
        await sql`select set_config('lock_timeout', ${`${LOCK_PATIENCE_MILLISECONDS}ms`}, true)`.execute(tx);
        return work(tx);
      });
    } catch (error) {
      if (!isLockTimeout(error) || attempt === ATTEMPTS) throw error;
      await delay(PAUSE_MILLISECONDS * (0.5 + Math.random()));
    }
  }
}

function isLockTimeout(error: unknown): boolean {
  return (error as { code?: unknown }).code === '55P03';
}

async function exists(tx: Tx, table: string): Promise<boolean> {
  const { rows } = await sql<{ found: boolean }>`select to_regclass(${table}) is not null as found`.execute(tx);
  return rows[0]?.found === true;
}

async function partitionsOf(database: Database, { name }: PartitionedTable): Promise<Partition[]> {
  const { rows } = await database.transaction().execute(async (tx) => {
    await sql`set local timezone = 'UTC'`.execute(tx);
    return sql<{ name: string; bounds: string }>`select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bounds
      from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = to_regclass(${name})`.execute(tx);
  });
  return rows.flatMap(({ name: partition, bounds }) => {
    const [, from, to] = /FROM \((.+)\) TO \('(.+)'\)/.exec(bounds) ?? [];
    return from && to
      ? [{ name: partition, from: from === 'MINVALUE' ? undefined : timeOf(from.replaceAll("'", '')), to: timeOf(to) }]
      : [];
  });
}

/** `2026-11-01 00:00:00+00`, as PostgreSQL writes it. */
function timeOf(text: string): Date {
  return new Date(`${text.replace(' ', 'T')}:00`);
}
