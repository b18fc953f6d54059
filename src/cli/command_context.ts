/** What every command needs: the configuration, the database, the vault, and the trail with what proves it. */
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

/** Opens the house, lets the command work in it, and closes it again whatever happened. */
export async function withContext<T>(work: (house: CommandContext) => Promise<T>): Promise<T> {
  const interruption = new Interruption({
    sentence: (signal) => `Stopped by ${signal}; what was not finished is undone.`,
    // what a shell makes of a signal: a script must not take the command for done
    exitCode: (signal) => 128 + constants.signals[signal],
  });
  const config = readConfig();
  // standard output is for the command's result
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
    return await work({ config, database, vault, trail, auditKeys, checkpoints });
  } catch (error) {
    // the process exits as soon as what has begun is undone; what fails meanwhile is a consequence
    if (interruption.interrupted) await new Promise(() => {});
    throw error;
  } finally {
    await opened.close();
    interruption.end();
  }
}
