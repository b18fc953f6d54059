import type { X509Certificate } from 'node:crypto';
import type pg from 'pg';
import type { Clock } from '../base/clock.ts';
import type { Config } from '../config.ts';
import type { Database } from '../db/connection.ts';
import type { Resolve } from '../egress/addresses.ts';
import type { Logger } from '../log.ts';
import type { MasterKey } from '../vault/master_key.ts';
import type { SiblingWorkers } from './sibling_workers.ts';

export interface AppSettings {
  readonly config: Config;
  readonly pool: pg.Pool;
  readonly database: Database;
  readonly databaseUrl: string;
  /** For LISTEN, which tells this node of changes at once; without it the node only polls. */
  readonly connectionString: string | undefined;
  readonly masterKeys: readonly [MasterKey, ...MasterKey[]];
  readonly log: Logger;
  /** How many lines of the log could not be written; by default none. */
  readonly linesDropped?: () => number;
  readonly clock: Clock;
  /** The authorities whose client certificates prove a name, as their file has them now. */
  readonly clientAuthorities: () => readonly X509Certificate[];
  /** The other processes, if several share the work of this node. */
  readonly siblings?: SiblingWorkers | undefined;
  /** Replaces `dns.lookup` in tests. */
  readonly resolve?: Resolve;
  /** An authority that egress trusts, in tests; otherwise egress trusts those of Node. */
  readonly ca?: string;
}
