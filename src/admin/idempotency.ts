/**
 * Idempotent writes. The transaction of the change also claims the caller's key, so either both are stored or neither
 * is; a second request with the key waits for the first one and gets its reply. Replies are encrypted, because some
 * contain a secret that is shown once. Refusals are not stored: a caller that corrects its request can use the same
 * key.
 */
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { invalid, Refused } from '../base/refusal.ts';
import { equalInConstantTime } from '../base/secret.ts';
import type { Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import type { Reply } from '../http/route.ts';
import type { DataKey, Vault } from '../vault/vault.ts';

/** A key expires after this time. */
const KEY_TTL_SECONDS = DAY_SECONDS;

export interface Attempt {
  readonly actorId: string;
  readonly key: string;
  /** Method, path, query and body, which identify the request. */
  readonly request: string;
  readonly dataKey: DataKey;
}

/** The stored reply of an earlier request with the same key. */
export interface StoredReply {
  readonly requestDigest: Buffer;
  readonly dataKeyId: string;
  readonly status: number;
  readonly reply: Buffer;
}

/** Reads the header; `undefined` if it is absent. Refuses a key that is not 1 to 255 visible ASCII characters. */
export function readIdempotencyKey(header: string): string | undefined {
  if (header === '') return undefined;
  if (/^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw invalid('Idempotency-Key', 'must be 1 to 255 visible ASCII characters');
}

/** Claims the key for this request; returns the stored reply if an earlier request claimed it. */
export async function claimKey(tx: Tx, attempt: Attempt, now: Date): Promise<StoredReply | undefined> {
  const { actorId, key, request, dataKey } = attempt;
  const values = {
    request_digest: dataKey.digest(request),
    data_key_id: dataKey.id,
    status: null,
    reply: null,
    created_at: now,
  };
  // one statement: if another transaction holds the key, this waits until it commits or rolls back
  const claimed = await tx
    .insertInto('idempotency_keys')
    .values({ actor_id: actorId, idempotency_key: key, ...values })
    .onConflict((clash) =>
      clash
        .columns(['actor_id', 'idempotency_key'])
        .doUpdateSet(values)
        .where('idempotency_keys.created_at', '<=', addSeconds(now, -KEY_TTL_SECONDS)),
    )
    .returning('actor_id')
    .executeTakeFirst();
  return claimed ? undefined : find(tx, attempt);
}

export async function storeReply(tx: Tx, { actorId, key, dataKey }: Attempt, reply: Reply): Promise<void> {
  const sealed = dataKey.seal(Buffer.from(JSON.stringify(reply)), associatedData(actorId, key));
  await sendIn(
    tx,
    tx
      .updateTable('idempotency_keys')
      .set({ status: reply.status, reply: sealed })
      .where('actor_id', '=', actorId)
      .where('idempotency_key', '=', key),
  );
}

/** Returns the stored reply. Refuses if the key was used with another request. */
export async function replay(vault: Vault, { actorId, key, request }: Attempt, stored: StoredReply): Promise<Reply> {
  const dataKey = await vault.get(stored.dataKeyId);
  if (!equalInConstantTime(dataKey.digest(request), stored.requestDigest)) {
    throw new Refused({
      reason: 'key_reused',
      detail: 'This Idempotency-Key was used with a different request; use a new key for each request.',
    });
  }
  const reply = JSON.parse(dataKey.open(stored.reply, associatedData(actorId, key)).toString()) as Reply;
  return { ...reply, headers: { ...reply.headers, 'Idempotency-Replayed': 'true' } };
}

async function find(tx: Tx, { actorId, key }: Attempt): Promise<StoredReply> {
  const row = await tx
    .selectFrom('idempotency_keys')
    .selectAll()
    .where('actor_id', '=', actorId)
    .where('idempotency_key', '=', key)
    .executeTakeFirst();
  // a row is committed together with its reply, and deleted only long after it expired
  if (!row?.reply || row.status === null || row.data_key_id === null)
    throw new Error('An idempotency key has no reply.');
  return { requestDigest: row.request_digest, dataKeyId: row.data_key_id, status: row.status, reply: row.reply };
}

function associatedData(actorId: string, key: string): string {
  return `${actorId} ${key}`;
}
