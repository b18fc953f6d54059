/**
 * Challenges of passkey ceremonies (WebAuthn, 13.4.3). A challenge carries its expiry and a keyed digest that binds it
 * to one login or one session, so showing a page stores nothing. Its use is one statement: it counts once on all nodes.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { addSeconds, epochSeconds } from '../base/clock.ts';
import { equalInConstantTime, sha256 } from '../base/secret.ts';
import type { Tx } from '../db/connection.ts';

const RANDOM_BYTES = 16;
const EXPIRY_BYTES = 4;
const TAG_BYTES = 32;

/** `boundTo`: the login or session that the challenge is for. Returns base64url. */
export function newChallenge(key: Buffer, boundTo: string, now: Date, seconds: number): string {
  const expiry = Buffer.alloc(EXPIRY_BYTES);
  expiry.writeUInt32BE(epochSeconds(addSeconds(now, seconds)));
  const head = Buffer.concat([randomBytes(RANDOM_BYTES), expiry]);
  return Buffer.concat([head, tagOf(key, head, boundTo)]).toString('base64url');
}

/** Returns when the challenge expires; `undefined` if it is not a live challenge for this login or session. */
export function expiryOfChallenge(key: Buffer, challenge: string, boundTo: string, now: Date): Date | undefined {
  const bytes = Buffer.from(challenge, 'base64url');
  if (bytes.length !== RANDOM_BYTES + EXPIRY_BYTES + TAG_BYTES) return undefined;
  // another spelling of the same bytes would count a second time
  if (bytes.toString('base64url') !== challenge) return undefined;
  const head = bytes.subarray(0, RANDOM_BYTES + EXPIRY_BYTES);
  if (!equalInConstantTime(bytes.subarray(head.length), tagOf(key, head, boundTo))) return undefined;
  const expiresAt = new Date(head.readUInt32BE(RANDOM_BYTES) * 1_000);
  return expiresAt > now ? expiresAt : undefined;
}

/** Uses a challenge that `expiryOfChallenge` accepted. Returns false if it was used before. */
export async function useChallenge(tx: Tx, challenge: string, expiresAt: Date): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('used_once')
    .values({ purpose: 'passkey_challenge', digest: sha256(challenge), expires_at: expiresAt })
    .onConflict((clash) => clash.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

function tagOf(key: Buffer, head: Buffer, boundTo: string): Buffer {
  return createHmac('sha256', key).update(head).update(boundTo).digest();
}
