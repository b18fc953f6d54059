/** Outboxes as nodes have them, on a database of their own, with a kind of message that this file makes up. */
import { AuditKeys } from '../../../src/audit/audit_keys.ts';
import { AuditTrail } from '../../../src/audit/trail.ts';
import { addSeconds, type Clock } from '../../../src/base/clock.ts';
import { Secret } from '../../../src/base/secret.ts';
import { createDatabase, type Database } from '../../../src/db/connection.ts';
import { transact } from '../../../src/db/transaction.ts';
import { createLog } from '../../../src/log.ts';
import type { MessageType } from '../../../src/outbox/message_type.ts';
import { enqueue, sealForMessage, type NewMessage } from '../../../src/outbox/message.ts';
import { Outbox, type OutboxSettings } from '../../../src/outbox/outbox.ts';
import { MasterKey } from '../../../src/vault/master_key.ts';
import { Vault } from '../../../src/vault/vault.ts';
import { cloneDatabase, patientPool } from './database.ts';
import { TEST_MASTER_KEY } from './gatehouse.ts';

export interface MailRoom {
  readonly database: Database;
  /** What the nodes have logged. */
  readonly log: readonly string[];
  /** A node's outbox, which sends letters from now on. */
  node(how: Pick<OutboxSettings, 'egress'> & { readonly clock?: Clock; readonly kind?: Partial<MessageType> }): Outbox;
  /** Writes a letter to `url`; `fail` takes the transaction back afterwards. */
  write(
    url: string,
    letter?: Partial<NewMessage> & { readonly secret?: string; readonly fail?: boolean },
  ): Promise<void>;
  /** What is in the outbox, longest due first. */
  stored(): Promise<{ attempts: number; failure: string | null; due_at: Date }[]>;
  stop(): Promise<void>;
}

/** Its request carries the message's id, and its secret where it has one. */
const LETTER: MessageType = {
  name: 'letter',
  retries: { attemptsAtMost: 3, firstWaitSeconds: 60, longestWaitSeconds: 90 },
  build: ({ messageId, payload, secret }) =>
    Promise.resolve({
      url: String(payload['url']),
      headers: { 'content-type': 'text/plain', ...(secret && { authorization: `Bearer ${secret.reveal()}` }) },
      body: messageId,
      vetted: true,
    }),
  judge: (status) => (status < 300 ? 'delivered' : status === 400 ? 'refused' : 'try_again'),
};

export async function openMailRoom(): Promise<MailRoom> {
  const clone = await cloneDatabase();
  const pool = patientPool(clone.url, 10);
  const database = createDatabase(pool);
  const log: string[] = [];
  const logger = createLog('debug', { write: (line) => void log.push(line) });
  const vault = (): Vault => new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]);
  const keys = await AuditKeys.open(database, vault(), new Date());
  const nodes: Outbox[] = [];
  return {
    database,
    log,
    node({ egress, clock = () => new Date(), kind = {} }) {
      const trail = new AuditTrail({ database, keys, log: createLog('silent'), clock });
      const node = new Outbox({ database, vault: vault(), egress, trail, clock, log: logger });
      node.serve({ ...LETTER, ...kind });
      node.start();
      nodes.push(node);
      return node;
    },
    async write(url, { secret, fail = false, ...letter } = {}) {
      const now = new Date();
      const sealed = secret === undefined ? undefined : await sealForMessage(vault(), new Secret(secret), now);
      const written = transact(database, async (tx) => {
        const message = { kind: 'letter', clientId: 'client', payload: { url }, expiresAt: addSeconds(now, 86_400) };
        await enqueue(tx, [{ ...message, ...(sealed && { sealed }), ...letter }], now);
        if (fail) throw new Error('taken back');
      });
      await (fail ? written.catch(() => {}) : written);
    },
    stored: () => database.selectFrom('outbox').select(['attempts', 'failure', 'due_at']).orderBy('due_at').execute(),
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
      await pool.end();
      await clone.drop();
    },
  };
}
