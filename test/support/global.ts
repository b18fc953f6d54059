/** What a whole run of the tests shares: an unpacked browser, a Postgres, and the template that databases are cloned from. */
import { globSync } from 'node:fs';
import { access, chmod, constants, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { availableMemory } from 'node:process';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrateToLatest } from '../../src/db/migrate.ts';
import { unpackBrowser } from './person/browser.ts';
import { createTemplate, dropTemplateAndClones } from './node/database.ts';
import { removeFolder } from './node/folder.ts';

/** The databases of a test run need not survive a power cut. */
const FAST_AND_FORGETFUL = [
  'fsync=off',
  'synchronous_commit=off',
  'full_page_writes=off',
  'max_wal_size=256MB',
  'max_connections=300',
];

/** Linux keeps these files in memory, where a database is created and dropped at a tenth of the cost on a disk. */
const MEMORY = '/dev/shm';
/** Several times what a run needs. */
const MEMORY_BYTES = 4 * 2 ** 30;

const undo: (() => Promise<void>)[] = [];

export async function globalSetup(): Promise<void> {
  requireTestFiles();
  await unpackBrowser();
  try {
    await keepFilesInMemory();
    const serverUrl = process.env.TEST_DATABASE_URL || (await startTemporaryPostgres());
    await prepareTemplate(serverUrl);
  } catch (error) {
    await globalTeardown();
    throw error;
  }
}

export async function globalTeardown(): Promise<void> {
  for (const step of undo.splice(0).toReversed()) await step();
}

/** node:test exits with 0 when its patterns match no file: a moved folder would look like a green run. */
function requireTestFiles(): void {
  const patterns = process.argv.slice(1);
  if (patterns.length > 0 && globSync(patterns).length === 0) {
    throw new Error(`No test file matches ${patterns.join(' ')}.`);
  }
}

/** Temporary files of tests, if the machine has the memory and no folder was chosen for them. */
async function keepFilesInMemory(): Promise<void> {
  if (process.env.TMPDIR || !(await hasMemory())) return;
  process.env.TEST_LASTING_FOLDER = tmpdir();
  const folder = await mkdtemp(join(MEMORY, 'gatehouse-tests-'));
  undo.push(() => removeFolder(folder));
  await chmod(folder, 0o711); // servers of other users find their files in here
  process.env.TMPDIR = folder;
}

async function hasMemory(): Promise<boolean> {
  try {
    await access(MEMORY, constants.W_OK);
    const { bavail, bsize } = await statfs(MEMORY);
    return Math.min(bavail * bsize, availableMemory()) > MEMORY_BYTES;
  } catch {
    return false;
  }
}

async function startTemporaryPostgres(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gatehouse-test-'));
  undo.push(() => rm(folder, { recursive: true, force: true }));
  const embedded = await startEmbedded(folder, FAST_AND_FORGETFUL);
  undo.push(() => embedded.stop());
  return embedded.url;
}

async function prepareTemplate(serverUrl: string): Promise<void> {
  const template = await createTemplate(serverUrl);
  undo.push(() => dropTemplateAndClones(serverUrl, template.name));
  await migrateToLatest(template.url);
  process.env.TEST_DATABASE_URL = serverUrl;
  process.env.TEST_DATABASE_TEMPLATE = template.name;
}
