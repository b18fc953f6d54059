/**
 * Writes messages to the outbox, in the transaction of their cause, so that a message exists exactly if that
 * transaction commits.
 */
import { randomId } from '../base/ids.ts';
import type { Secret } from '../base/secret.ts';
import { recordChange } from '../invalidation/log.ts';
import { json, type Tx } from '../db/connection.ts';
import type { Vault } from '../vault/vault.ts';

export interface NewMessage {
  /** The name of the `MessageType` that builds its request (message_type.ts). */
  readonly kind: string;
  /**
   * The client that receives it. A message that its type delivers itself has another receiver, such as an account. A
   * receiver gets one message at a time.
   */
  readonly clientId: string;
  /** The data of the request, stored in plain text: it must never hold a credential. */
  readonly payload: Readonly<Record<string, unknown>>;
  /** Data that must not be stored in plain text, such as a token in the request. */
  readonly sealed?: SealedSecret;
  /** The time from which the message is no longer useful. */
  readonly expiresAt: Date;
}

/** A secret for one message, sealed before the transaction begins. It can't be opened for another message. */
export interface SealedSecret {
  readonly messageId: string;
  readonly dataKeyId: string;
  readonly box: Buffer;
}

/** Seals the secret of a message. */
export async function sealForMessage(vault: Vault, secret: Secret, now: Date): Promise<SealedSecret> {
  return (await openSealer(vault, now))(secret);
}

/** Seals the secret of a message at once, so that a transaction can seal what it has just made. */
export type Sealer = (secret: Secret) => SealedSecret;

/** Reads the key, before the transaction begins. */
export async function openSealer(vault: Vault, now: Date): Promise<Sealer> {
  const dataKey = await vault.current('outbox', now);
  return (secret) => {
    const messageId = randomId('message');
    return { messageId, dataKeyId: dataKey.id, box: dataKey.seal(Buffer.from(secret.reveal()), messageId) };
  };
}

/** Inserts messages into the outbox. They are due when the transaction commits, and each node is notified. */
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
