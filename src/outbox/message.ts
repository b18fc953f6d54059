/** What waits to be sent: written in the transaction of what causes it, so that there is one exactly if that happened. */
import { randomId } from '../base/ids.ts';
import type { Secret } from '../base/secret.ts';
import { recordChange } from '../invalidation/log.ts';
import { json, type Tx } from '../db/connection.ts';
import type { Vault } from '../vault/vault.ts';

export interface NewMessage {
  /** Which `Kind` (see message_type.ts) builds its request. */
  readonly kind: string;
  /** Whom it is for. */
  readonly clientId: string;
  /** What the request is built from, in clear: never anything that lets its reader in. */
  readonly payload: Readonly<Record<string, unknown>>;
  /** What must not be read at rest, such as a token that goes along. */
  readonly sealed?: SealedSecret;
  /** From then on nobody needs it any longer. */
  readonly expiresAt: Date;
}

/** A secret for one message, sealed before the transaction begins; it can't be opened for another one. */
export interface SealedSecret {
  readonly messageId: string;
  readonly dataKeyId: string;
  readonly box: Buffer;
}

/** Seals what a message carries besides its payload. */
export async function sealForMessage(vault: Vault, secret: Secret, now: Date): Promise<SealedSecret> {
  const messageId = randomId('message');
  const dataKey = await vault.current('outbox', now);
  return { messageId, dataKeyId: dataKey.id, box: dataKey.seal(Buffer.from(secret.reveal()), messageId) };
}

/** Puts messages into the outbox. They are due as soon as the transaction commits, and every node hears of it. */
export async function enqueue(tx: Tx, messages: readonly NewMessage[], now: Date): Promise<void> {
  if (messages.length === 0) return;
  const rows = messages.map(({ kind, clientId, payload, sealed, expiresAt }) => ({
    message_id: sealed?.messageId ?? randomId('message'),
    kind,
    client_id: clientId,
    payload: json(payload),
    data_key_id: sealed?.dataKeyId ?? null,
    sealed: sealed?.box ?? null,
    due_at: now,
    failed_at: null,
    failure: null,
    created_at: now,
    expires_at: expiresAt,
  }));
  await tx.insertInto('outbox').values(rows).execute();
  await recordChange(tx, { topic: 'outbox', key: '' }, now);
}
