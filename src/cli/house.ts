/** What every command needs: the configuration, the database, the vault, and the trail with what proves it. */
import { AuditKeys } from '../audit/audit_keys.ts';
import { Checkpoints } from '../audit/checkpoints.ts';
import { AuditTrail } from '../audit/trail.ts';
import { systemClock } from '../base/clock.ts';
import { masterKeyFile, readConfig, type Config } from '../config.ts';
import type { Database } from '../db/connection.ts';
import { openDatabase } from '../db/open.ts';
import { createLog } from '../log.ts';
import { MasterKey } from '../vault/master_key.ts';
import { masterKeyFromFile } from '../vault/master_key_file.ts';
import { Vault } from '../vault/vault.ts';

export interface House {
  readonly config: Config;
  readonly database: Database;
  readonly vault: Vault;
  readonly trail: AuditTrail;
  readonly auditKeys: AuditKeys;
  readonly checkpoints: Checkpoints;
}

/** Opens the house, lets the command work in it, and closes it again whatever happened. */
export async function inHouse<T>(work: (house: House) => Promise<T>): Promise<T> {
  const config = readConfig();
  // standard output is for the command's result
  const log = createLog('warn');
  const opened = await openDatabase({
    databaseUrl: config.databaseUrl,
    dataDir: config.dataDir,
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
    const trail = new AuditTrail({ database, keys: auditKeys, log, clock });
    const { auditRetentionDays: retentionDays } = config;
    const checkpoints = new Checkpoints({ database, keys: auditKeys, trail, clock, log, retentionDays });
    return await work({ config, database, vault, trail, auditKeys, checkpoints });
  } finally {
    await opened.close();
  }
}
