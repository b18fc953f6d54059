import { makePartitions } from '../audit/partitions.ts';
import { asOwner } from '../db/roles.ts';
import { withContext } from './command_context.ts';

/**
 * Migrates the database, which happens when it is opened. Servers do the same at start; this command does it in
 * advance. Also creates the next partitions of the audit trail, for servers without that permission.
 */
export async function migrateDatabase(): Promise<void> {
  await withContext(({ config, database }) =>
    asOwner(config.ownerDatabaseUrl, database, (owner) => makePartitions(owner, new Date())),
  );
  process.stdout.write('The database is up to date.\n');
}
