/**
 * Writes that may be sent again. The key that a caller gives is claimed in the transaction of the change itself, so the
 * change and its claim are on disk together or not at all; a second request with the key waits for the first one's end
 * and gets its reply. Replies are sealed: some hold a secret that is shown once. Refusals are not kept, since a caller
 * who mends a request should not need a new key.
 */
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import { invalid, Refused } from '../base/refusal.ts';
import { equalInConstantTime } from '../base/secret.ts';
import type { Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import type { Reply } from '../http/route.ts';
import type { DataKey, Vault } from '../vault/vault.ts';

/** After this long a key counts as new. */
const KEPT_SECONDS = DAY_SECONDS;

export interface Attempt {
  readonly actorId: string;
  readonly key: string;
  /** Method, path, query and body: what makes it the same request. */
  readonly request: string;
  readonly dataKey: DataKey;
}

/** A row that another request has left. */
export interface Kept {
  readonly requestDigest: Buffer;
  readonly dataKeyId: string;
  readonly status: number;
  readonly reply: Buffer;
}

/** The key in the header, or `undefined` where there is none. */
export function readIdempotencyKey(header: string): string | undefined {
  if (header === '') return undefined;
  if (/^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw invalid('Idempotency-Key', 'must be 1 to 255 visible ASCII characters');
}

/** Takes the key for this request; answers with what is kept where another request had it first. */
export async function claim(tx: Tx, attempt: Attempt, now: Date): Promise<Kept | undefined> {
  const { actorId, key, request, dataKey } = attempt;
  const values = {
    request_digest: dataKey.digest(request),
    data_key_id: dataKey.id,
    status: null,
    reply: null,
    created_at: now,
  };
  // one statement: while another transaction holds the key, this waits for it to commit or to give up
  const claimed = await tx
    .insertInto('idempotency_keys')
    .values({ actor_id: actorId, idempotency_key: key, ...values })
    .onConflict((clash) =>
      clash
        .columns(['actor_id', 'idempotency_key'])
        .doUpdateSet(values)
        .where('idempotency_keys.created_at', '<=', addSeconds(now, -KEPT_SECONDS)),
    )
    .returning('actor_id')
    .executeTakeFirst();
  return claimed ? undefined : find(tx, attempt);
}

export async function keep(tx: Tx, { actorId, key, dataKey }: Attempt, reply: Reply): Promise<void> {
  const sealed = dataKey.seal(Buffer.from(JSON.stringify(reply)), bound(actorId, key));
  await sendIn(
    tx,
    tx
      .updateTable('idempotency_keys')
      .set({ status: reply.status, reply: sealed })
      .where('actor_id', '=', actorId)
      .where('idempotency_key', '=', key),
  );
}

/** The reply that was kept. Refuses when the key came with another request then. */
export async function replay(vault: Vault, { actorId, key, request }: Attempt, kept: Kept): Promise<Reply> {
  const dataKey = await vault.get(kept.dataKeyId);
  if (!equalInConstantTime(dataKey.digest(request), kept.requestDigest)) {
    throw new Refused({
      reason: 'key_reused',
      detail: 'This Idempotency-Key came with another request before; give each request a key of its own.',
    });
  }
  const reply = JSON.parse(dataKey.open(kept.reply, bound(actorId, key)).toString()) as Reply;
  return { ...reply, headers: { ...reply.headers, 'Idempotency-Replayed': 'true' } };
}

async function find(tx: Tx, { actorId, key }: Attempt): Promise<Kept> {
  const row = await tx
    .selectFrom('idempotency_keys')
    .selectAll()
    .where('actor_id', '=', actorId)
    .where('idempotency_key', '=', key)
    .executeTakeFirst();
  // a row is committed with its reply, and removed only long after
  if (!row?.reply || row.status === null || row.data_key_id === null)
    throw new Error('An idempotency key has no reply.');
  return { requestDigest: row.request_digest, dataKeyId: row.data_key_id, status: row.status, reply: row.reply };
}

function bound(actorId: string, key: string): string {
  return `${actorId} ${key}`;
}
