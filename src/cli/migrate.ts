import { inHouse } from './house.ts';

/** Opening the house is what migrates; servers do it at their start too, so this is for doing it ahead of them. */
export async function migrateDatabase(): Promise<void> {
  await inHouse(() => Promise.resolve());
  process.stdout.write('The database is up to date.\n');
}
