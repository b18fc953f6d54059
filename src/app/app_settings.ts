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
  /** For LISTEN, through which this node gets changes at once; `undefined`: the node only polls. */
  readonly connectionString: string | undefined;
  readonly masterKeys: readonly [MasterKey, ...MasterKey[]];
  readonly log: Logger;
  /** Returns the number of log lines that could not be written; 0 by default. */
  readonly linesDropped?: () => number;
  readonly clock: Clock;
  /** Returns the certificate authorities for client certificates, as they are in their file now. */
  readonly clientAuthorities: () => readonly X509Certificate[];
  /** The other processes of this node; `undefined` if it has only one. */
  readonly siblings?: SiblingWorkers | undefined;
  /** Replaces `dns.lookup` in tests. */
  readonly resolve?: Resolve;
  /** A certificate authority that egress trusts in tests, in place of those of Node.js. */
  readonly ca?: string;
}
