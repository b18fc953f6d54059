/** A trail of the test's own, on a node's database: what it writes is sealed as the nodes' own entries are. */
import { AuditKeys } from '../../../src/audit/audit_keys.ts';
import { AuditTrail } from '../../../src/audit/trail.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Database } from '../../../src/db/connection.ts';
import { createLog } from '../../../src/log.ts';
import { MasterKey } from '../../../src/vault/master_key.ts';
import { Vault } from '../../../src/vault/vault.ts';
import { TEST_MASTER_KEY } from './gatehouse.ts';

const log = createLog('silent');

export async function openTrail(database: Database): Promise<AuditTrail> {
  const vault = new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
  const keys = await AuditKeys.open(database, vault, new Date());
  return new AuditTrail({ database, keys, log, clock: systemClock });
}
