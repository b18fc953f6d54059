/**
 * Two roles instead of one: an owner has the tables, migrates them, and creates and drops the audit trail's partitions;
 * the server logs in as a role that may only read and write them, and only append to the trail. The owner grants these
 * rights here, table by table, each time it opens the database. A table that is not listed below gets the ordinary
 * rights. A partition of the trail gets none, because it is used through the trail's own table.
 */
import { sql } from 'kysely';
import { CannotStart } from '../base/cannot_start.ts';
import { createDatabase, createPool, type Database, type Tx } from './connection.ts';
import { readIdentity } from './identity.ts';
import { withVerifiedTls } from './ssl_mode.ts';

const ORDINARY = 'select, insert, update, delete';
/** A checkpoint changes a link once; a trigger refuses all other changes. */
const RESTRICTED: Readonly<Record<string, readonly string[]>> = {
  audit_events: ['select, insert'],
  audit_links: ['select, insert', 'update (checkpoint)'],
  audit_checkpoints: ['select, insert'],
  audit_keys: ['select, insert'],
  migration_demands: ['select'],
  kysely_migration: ['select'],
  kysely_migration_lock: ['select'],
};

/** Runs `work` on a separate connection of the owner, which is closed afterwards; without `ownerUrl`, on `database`. */
export async function asOwner<T>(
  ownerUrl: string | undefined,
  database: Database,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  if (ownerUrl === undefined) return work(database);
  return withDatabase(ownerUrl, work);
}

/**
 * Grants the server's role the rights that it needs and revokes all others. Several nodes may do this at once. Throws
 * `CannotStart` if both URLs use the same role, or different databases.
 */
export async function grantToServer(ownerUrl: string, serverUrl: string): Promise<void> {
  await withDatabase(serverUrl, async (server) => {
    const { rows } = await sql<{ role: string }>`select current_user as role`.execute(server);
    const { role } = rows[0]!;
    const identity = await withDatabase(ownerUrl, async (owner) => {
      await owner.transaction().execute(async (tx) => {
        await sql`select pg_advisory_xact_lock(hashtext('gatehouse.grants'))`.execute(tx);
        await refuseOneRole(tx, role);
        await grantAll(tx, role);
      });
      return readIdentity(owner);
    });
    const same = await readIdentity(server).then(
      (its) => its === identity,
      () => false,
    );
    if (!same)
      throw new CannotStart(
        'GATEHOUSE_OWNER_DATABASE_URL and DATABASE_URL use different databases or schemas: use the same one in both.',
      );
  });
}

async function refuseOneRole(tx: Tx, server: string): Promise<void> {
  const { rows } = await sql<{ owner: string; isOwner: boolean }>`select current_user as owner,
    pg_has_role(${server}, current_user, 'member') as "isOwner"`.execute(tx);
  const { owner, isOwner } = rows[0]!;
  if (!isOwner) return;
  throw new CannotStart(
    `DATABASE_URL logs in as ${server}, which has all rights of ${owner}, the user of GATEHOUSE_OWNER_DATABASE_URL, so the audit trail would not be append-only: use a role in DATABASE_URL that is not a superuser and not a member of ${owner}.`,
  );
}

interface OwnTable {
  readonly name: string;
  readonly owner: string;
  readonly isOurs: boolean;
  readonly isPartition: boolean;
}

async function grantAll(tx: Tx, server: string): Promise<void> {
  const { rows: tables } = await sql<OwnTable>`select c.relname as name, c.relowner::regrole::text as owner,
      pg_has_role(c.relowner, 'usage') as "isOurs", c.relispartition as "isPartition"
    from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
    order by c.relname`.execute(tx);
  const trail = tables.find(({ name }) => name === 'audit_events');
  if (trail && !trail.isOurs)
    throw new CannotStart(
      `The tables belong to ${trail.owner}, and not to the user of GATEHOUSE_OWNER_DATABASE_URL: make that user their owner; docs/operating.md says how.`,
    );
  const role = sql.id(server);
  for (const { name, isPartition } of tables.filter(({ isOurs }) => isOurs)) {
    await sql`revoke all on ${sql.table(name)} from public, ${role}`.execute(tx);
    if (isPartition) continue;
    for (const rights of RESTRICTED[name] ?? [ORDINARY])
      await sql`grant ${sql.raw(rights)} on ${sql.table(name)} to ${role}`.execute(tx);
  }
  const { rows: schemas } = await sql<{ name: string }>`select current_schema() as name`.execute(tx);
  const schema = sql.id(schemas[0]!.name);
  await sql`grant usage on schema ${schema} to ${role}`.execute(tx);
  await sql`grant usage, select on all sequences in schema ${schema} to ${role}`.execute(tx);
}

async function withDatabase<T>(connectionString: string, work: (database: Database) => Promise<T>): Promise<T> {
  const database = createDatabase(
    createPool({ connectionString: withVerifiedTls(connectionString), maxConnections: 1, onIdleError: () => {} }),
  );
  try {
    return await work(database);
  } finally {
    await database.destroy();
  }
}
