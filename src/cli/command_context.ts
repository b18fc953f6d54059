/** Opens what every command needs: configuration, database, vault and audit trail. */
import { constants } from 'node:os';
import { AuditKeys } from '../audit/audit_keys.ts';
import { Checkpoints } from '../audit/checkpoints.ts';
import { AuditTrail } from '../audit/trail.ts';
import { systemClock } from '../base/clock.ts';
import { Interruption } from '../base/interruption.ts';
import { masterKeyFile, readConfig, type Config } from '../config.ts';
import type { Database } from '../db/connection.ts';
import { readIdentity } from '../db/identity.ts';
import { openDatabase } from '../db/open.ts';
import { createLog } from '../log.ts';
import { MasterKey } from '../vault/master_key.ts';
import { masterKeyFromFile } from '../vault/master_key_file.ts';
import { Vault } from '../vault/vault.ts';

export interface CommandContext {
  readonly config: Config;
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly auditKeys: AuditKeys;
  readonly checkpoints: Checkpoints;
}

/** Runs a command that SIGTERM, SIGINT or SIGHUP ends with one sentence and the exit code 128 + the signal's number. */
export async function interruptible<T>(work: (interruption: Interruption) => Promise<T>): Promise<T> {
  const interruption = new Interruption({
    sentence: (signal) => `Stopped by ${signal}; unfinished changes were rolled back.`,
    // the exit code that a shell reports for a signal, so that a script does not treat the command as successful
    exitCode: (signal) => 128 + constants.signals[signal],
  });
  try {
    return await unlessInterrupted(interruption, work(interruption));
  } finally {
    interruption.end();
  }
}

/** The process exits as soon as it has undone its steps; an error that comes after the signal is a consequence of it. */
async function unlessInterrupted<T>(interruption: Interruption, working: Promise<T>): Promise<T> {
  try {
    return await working;
  } catch (error) {
    if (interruption.interrupted) await new Promise(() => {});
    throw error;
  }
}

/** Opens the database and what belongs to it, runs the command, and closes it again in each case. */
export function withContext<T>(work: (context: CommandContext) => Promise<T>): Promise<T> {
  return interruptible((interruption) => openContext(interruption, work));
}

async function openContext<T>(interruption: Interruption, work: (context: CommandContext) => Promise<T>): Promise<T> {
  const config = readConfig();
  // standard output contains only the command's result
  const log = createLog('warn');
  const opened = await openDatabase({
    databaseUrl: config.databaseUrl,
    ownerDatabaseUrl: config.ownerDatabaseUrl,
    dataDir: config.dataDir,
    interruption,
    existing: true,
    maxConnections: 2,
    onIdleError: (error) => log.warn({ error }, 'database.connection_lost'),
  });
  try {
    const [first, ...rest] = config.masterKeys.map((bytes) => new MasterKey(bytes));
    const vault = new Vault(
      opened.database,
      first ? [first, ...rest] : [await masterKeyFromFile(masterKeyFile(config))],
    );
    await vault.verify();
    const { database } = opened;
    const clock = systemClock;
    const auditKeys = await AuditKeys.open(database, vault, clock());
    const identity = await readIdentity(database);
    const trail = new AuditTrail({ database, keys: auditKeys, log, clock, identity: () => identity });
    const { auditRetentionDays: retentionDays } = config;
    const checkpoints = new Checkpoints({ database, keys: auditKeys, trail, clock, log, retentionDays });
    return await unlessInterrupted(interruption, work({ config, database, vault, trail, auditKeys, checkpoints }));
  } finally {
    await opened.close();
  }
}
