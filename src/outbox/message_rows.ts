/** The outbox's statements: claiming messages that are due, and storing their outcomes. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { Secret } from '../base/secret.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import type { Vault } from '../vault/vault.ts';
import type { Message } from './message_type.ts';

/** A message that only this node may send until its lease ends. */
export interface ClaimedMessage extends Omit<Message, 'secret'> {
  readonly kind: string;
  readonly dataKeyId: string | null;
  readonly sealed: Buffer | null;
  /** Includes this attempt. It also identifies the claim: a later claim has a higher number. */
  readonly attempts: number;
  readonly expiresAt: Date;
  /** Whether no admin created the client. */
  readonly selfRegistered: boolean;
}

/** A claimed message, and whether its receiver is a client, which the audit trail then names. */
export interface AttemptedMessage extends ClaimedMessage {
  readonly isForClient: boolean;
}

export type DeliveryOutcome =
  | { readonly result: 'delivered' }
  /** There is no longer a receiver, or a need for the message. */
  | { readonly result: 'dropped' }
  | {
      readonly result: 'postponed';
      readonly reason: string;
      readonly waitSeconds: number;
      /** No request was sent, so no attempt is counted. */
      readonly uncounted: boolean;
    }
  | { readonly result: 'failed'; readonly reason: string };

/** Several times the limit of a request (egress/limits.ts), and a short delay if a node dies. */
const LEASE_SECONDS = 10;
/** So that an operator can see undelivered messages. */
const FAILED_KEPT_SECONDS = 7 * DAY_SECONDS;

export interface Claim {
  readonly kinds: readonly string[];
  /** Clients to which this node is sending a message. */
  readonly exceptClients: readonly string[];
  readonly limit: number;
  /** The maximum number of messages with a failed attempt. */
  readonly againAtMost: number;
  /** The maximum number of messages to clients that registered themselves. */
  readonly selfRegisteredAtMost: number;
  /** How many may be both. */
  readonly selfRegisteredAgainAtMost: number;
  readonly now: Date;
}

/**
 * Claims messages that are due, the longest due first, one for each client. Each message goes to one node only.
 * Messages with a failed attempt take at most `againAtMost` of the places.
 */
export async function claim(
  database: Database,
  { kinds, exceptClients, limit, againAtMost, selfRegisteredAtMost, selfRegisteredAgainAtMost, now }: Claim,
): Promise<readonly ClaimedMessage[]> {
  const due = sql`failed_at is null and due_at <= ${now} and kind = any(${kinds}::text[])`;
  const { rows } = await sql<Row>`
    with first_of_each as (
      select distinct on (client_id) message_id, due_at, attempts > 0 as again,
        exists (select from client_registrations r where r.client_id = outbox.client_id) as self_registered from outbox
      where ${due} and client_id <> all(${exceptClients}::text[]) order by client_id, due_at),
    of_a_kind as (
      select *, row_number() over (partition by again, self_registered order by due_at) as place from first_of_each),
    -- a row that one limit excludes takes no place under the next one
    in_turn as (
      select message_id, due_at, again, self_registered, row_number() over (partition by again order by due_at) as place
      from of_a_kind
      where not (again and self_registered) or place <= least(${selfRegisteredAgainAtMost}, ${selfRegisteredAtMost}::integer)),
    admitted as (
      select message_id, self_registered, row_number() over (partition by self_registered order by due_at) as place
      from in_turn where not again or place <= ${againAtMost})
    update outbox set attempts = attempts + 1, due_at = ${addSeconds(now, LEASE_SECONDS)}
    where message_id in (
      select message_id from outbox
      where message_id in (select message_id from admitted where not self_registered or place <= ${selfRegisteredAtMost})
        and ${due}
      order by due_at limit ${limit} for update skip locked)
    returning message_id, kind, client_id, payload, data_key_id, sealed, attempts, expires_at,
      exists (select from client_registrations r where r.client_id = outbox.client_id) as self_registered`.execute(
    database,
  );
  return rows.map((row) => ({
    messageId: row.message_id,
    kind: row.kind,
    clientId: row.client_id,
    payload: row.payload,
    dataKeyId: row.data_key_id,
    sealed: row.sealed,
    attempts: row.attempts,
    expiresAt: row.expires_at,
    selfRegistered: row.self_registered,
  }));
}

interface Row {
  readonly message_id: string;
  readonly kind: string;
  readonly client_id: string;
  readonly payload: Record<string, unknown>;
  readonly data_key_id: string | null;
  readonly sealed: Buffer | null;
  readonly attempts: number;
  readonly expires_at: Date;
  readonly self_registered: boolean;
}

export async function openMessage(vault: Vault, claimed: ClaimedMessage): Promise<Message> {
  const { messageId, clientId, payload, dataKeyId, sealed } = claimed;
  const dataKey = dataKeyId === null ? undefined : await vault.get(dataKeyId);
  const secret = dataKey && sealed ? new Secret(dataKey.open(sealed, messageId).toString()) : undefined;
  return { messageId, clientId, payload, secret };
}

/** Stores the outcome of a claim with its audit event. Returns false if another node has claimed the message since. */
export async function settle(
  database: Database,
  claimed: AttemptedMessage,
  outcome: DeliveryOutcome,
  change: Omit<UnitOfWork, 'tx'>,
): Promise<boolean> {
  return transact(database, async (tx) => {
    const ours = await write(tx, claimed, outcome, change.now);
    if (ours && (outcome.result === 'delivered' || outcome.result === 'failed')) {
      await record({ ...change, tx }, claimed, outcome);
    }
    return ours;
  });
}

async function write(
  tx: Tx,
  { messageId, attempts }: ClaimedMessage,
  outcome: DeliveryOutcome,
  now: Date,
): Promise<boolean> {
  const ours = sql`message_id = ${messageId} and attempts = ${attempts} and failed_at is null`;
  const statement = (): ReturnType<typeof sql> => {
    switch (outcome.result) {
      case 'delivered':
      case 'dropped':
        return sql`delete from outbox where ${ours}`;
      case 'postponed':
        return sql`update outbox set due_at = ${addSeconds(now, outcome.waitSeconds)},
          attempts = attempts - ${outcome.uncounted ? 1 : 0}::integer where ${ours}`;
      case 'failed':
        return sql`update outbox set failed_at = ${now}, failure = ${outcome.reason}, data_key_id = null, sealed = null,
          expires_at = ${addSeconds(now, FAILED_KEPT_SECONDS)} where ${ours}`;
    }
  };
  const { numAffectedRows = 0n } = await statement().execute(tx);
  return numAffectedRows === 1n;
}

async function record(
  { tx, trail, origin }: UnitOfWork,
  { messageId, kind, clientId, isForClient, payload, attempts }: AttemptedMessage,
  outcome: Extract<DeliveryOutcome, { result: 'delivered' | 'failed' }>,
): Promise<void> {
  const { account_id: accountId } = payload;
  const details = { kind, message_id: messageId, attempts };
  const about = { ...(isForClient && { clientId }), ...(typeof accountId === 'string' && { accountId }) };
  await trail.recordIn(
    tx,
    origin,
    outcome.result === 'delivered'
      ? { event: 'message.delivered', outcome: 'success', ...about, details }
      : { event: 'message.failed', outcome: 'refused', ...about, details: { ...details, reason: outcome.reason } },
  );
}

export interface MessageCounts {
  readonly waiting: number;
  readonly failed: number;
}

export async function countMessages(database: Database): Promise<MessageCounts> {
  const { rows } = await sql<MessageCounts>`select count(*) filter (where failed_at is null) as waiting,
    count(*) filter (where failed_at is not null) as failed from outbox`.execute(database);
  return rows[0] ?? { waiting: 0, failed: 0 };
}
