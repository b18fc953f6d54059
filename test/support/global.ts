/** What a whole run of the tests shares: an unpacked browser, a Postgres, and the template that databases are cloned from. */
import { globSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrateToLatest } from '../../src/db/migrate.ts';
import { unpackBrowser } from './person/browser.ts';
import { createTemplate, dropTemplateAndClones } from './node/database.ts';

/** The databases of a test run need not survive a power cut. */
const FAST_AND_FORGETFUL = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_connections=300'];

const undo: (() => Promise<void>)[] = [];

export async function globalSetup(): Promise<void> {
  requireTestFiles();
  await unpackBrowser();
  try {
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
