import { makePartitions } from '../audit/partitions.ts';
import { asOwner } from '../db/roles.ts';
import { withContext } from './command_context.ts';

/**
 * Opening the database is what migrates; servers do it at their start too, so this is for doing it ahead of them. The
 * audit trail's next months are made as well, for servers that may not do that.
 */
export async function migrateDatabase(): Promise<void> {
  await withContext(({ config, database }) =>
    asOwner(config.ownerDatabaseUrl, database, (owner) => makePartitions(owner, new Date())),
  );
  process.stdout.write('The database is up to date.\n');
}
