/**
 * Two roles instead of one: the tables belong to an owner, who migrates them and makes and drops the audit trail's
 * months, and the server works as a role that may read and write them, and only append to the trail. What a role may do
 * is granted here, table by table, each time that the owner opens the database: a table that is not named below gets
 * what an ordinary one gets, and a month of the trail gets nothing at all, since it is reached by the trail's own table.
 */
import { sql } from 'kysely';
import { CannotStart } from '../base/cannot_start.ts';
import { createDatabase, createPool, type Database, type Tx } from './connection.ts';
import { readIdentity } from './identity.ts';
import { withVerifiedTls } from './ssl_mode.ts';

const ORDINARY = 'select, insert, update, delete';
/** A link is changed once, when a checkpoint names it, and a trigger refuses every other change. */
const LESS: Readonly<Record<string, readonly string[]>> = {
  audit_events: ['select, insert'],
  audit_links: ['select, insert', 'update (checkpoint)'],
  audit_checkpoints: ['select, insert'],
  audit_keys: ['select, insert'],
  migration_demands: ['select'],
  kysely_migration: ['select'],
  kysely_migration_lock: ['select'],
};

/**
 * Runs `work` on the owner's database, on a connection that is closed afterwards; on the server's own, where no owner is
 * set.
 */
export async function asOwner<T>(
  ownerUrl: string | undefined,
  database: Database,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  if (ownerUrl === undefined) return work(database);
  return withDatabase(ownerUrl, work);
}

/**
 * Gives the server's role what it needs, and takes away what is more than that. Any number of nodes may do it at once.
 * Throws `CannotStart` where the two roles are no two, or not on one database.
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
        'GATEHOUSE_OWNER_DATABASE_URL and DATABASE_URL lead to different databases or schemas: name the same one in both.',
      );
  });
}

async function refuseOneRole(tx: Tx, server: string): Promise<void> {
  const { rows } = await sql<{ owner: string; isOwner: boolean }>`select current_user as owner,
    pg_has_role(${server}, current_user, 'member') as "isOwner"`.execute(tx);
  const { owner, isOwner } = rows[0]!;
  if (!isOwner) return;
  throw new CannotStart(
    `DATABASE_URL logs in as ${server}, which has all rights of ${owner}, the user of GATEHOUSE_OWNER_DATABASE_URL, so the audit trail would not be append-only: log in as a role that is no superuser and no member of ${owner}.`,
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
      `The tables belong to ${trail.owner}, and not to the user of GATEHOUSE_OWNER_DATABASE_URL: give them to that user; docs/operating.md says how.`,
    );
  const role = sql.id(server);
  for (const { name, isPartition } of tables.filter(({ isOurs }) => isOurs)) {
    await sql`revoke all on ${sql.table(name)} from public, ${role}`.execute(tx);
    if (isPartition) continue;
    for (const rights of LESS[name] ?? [ORDINARY])
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
