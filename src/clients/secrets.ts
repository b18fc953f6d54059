/**
 * Client secrets. Several can be valid at once, so that rotation needs no downtime. The server shows a secret only
 * once, when it creates it.
 */
import { addSeconds } from '../base/clock.ts';
import { randomId } from '../base/ids.ts';
import { conflict, notFound } from '../base/refusal.ts';
import type { Secret } from '../base/secret.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { recordChange } from '../invalidation/log.ts';
import { sendIn } from '../db/pipeline.ts';
import type { DataKey } from '../vault/vault.ts';
import { isLive, type ClientWithSecrets, type StoredSecret } from './client.ts';
import { usesSecret } from './metadata/client_authentication.ts';
import { hintOf } from './generated_secret.ts';

export const LONGEST_OVERLAP_SECONDS = 30 * 86_400;
const LIVE_SECRETS_AT_MOST = 10;
/** Ended secrets are kept for admins to see, but only the newest ones. */
const ENDED_SECRETS_AT_MOST = 10;

/** How a secret is checked: a keyed digest for a generated one, an argon2id hash for an operator's one. */
export type SecretCheck = { readonly pepper: DataKey; readonly value: Secret } | { readonly argon2id: string };

export interface NewSecret {
  readonly check: SecretCheck;
  /** How long the existing secrets stay valid: 0 ends them at once. */
  readonly overlapSeconds: number;
  readonly expiresInSeconds?: number | undefined;
}

export interface IssuedSecret {
  readonly secretId: string;
  readonly expiresAt: Date | null;
  readonly previous: readonly { readonly secretId: string; readonly expiresAt: Date | null }[];
}

/** Adds a secret to a locked client and sets when its existing secrets expire. Throws `Refused`. */
export async function addSecret(
  work: UnitOfWork,
  client: Pick<ClientWithSecrets, 'clientId' | 'metadata' | 'secrets'>,
  secret: NewSecret,
): Promise<IssuedSecret> {
  const { tx, trail, origin, now } = work;
  if (!usesSecret(client.metadata)) {
    throw conflict(
      `${client.clientId} authenticates with ${client.metadata.token_endpoint_auth_method}, not with a secret.`,
    );
  }
  const live = client.secrets.filter((one) => isLive(one, now));
  if (live.length >= LIVE_SECRETS_AT_MOST && secret.overlapSeconds > 0) {
    throw conflict(`${client.clientId} has ${live.length} live secrets; end one before you add another.`);
  }
  const previous = live.map((one) => ({
    secretId: one.secretId,
    expiresAt: earlier(one.expiresAt, addSeconds(now, secret.overlapSeconds)),
  }));
  for (const { secretId, expiresAt } of previous) {
    await sendIn(tx, tx.updateTable('client_secrets').set({ expires_at: expiresAt }).where('secret_id', '=', secretId));
  }
  const ended = client.secrets.filter((one) => !isLive(one, now)).toSorted((a, b) => endOf(b) - endOf(a));
  for (const { secretId } of ended.slice(ENDED_SECRETS_AT_MOST)) {
    await sendIn(tx, tx.deleteFrom('client_secrets').where('secret_id', '=', secretId));
  }
  const secretId = randomId('secret');
  const expiresAt = secret.expiresInSeconds === undefined ? null : addSeconds(now, secret.expiresInSeconds);
  await sendIn(
    tx,
    tx.insertInto('client_secrets').values({
      secret_id: secretId,
      client_id: client.clientId,
      ...columns(secret.check),
      created_at: now,
      expires_at: expiresAt,
      ended_at: null,
      last_used_at: null,
    }),
  );
  await trail.recordIn(tx, origin, {
    event: 'secret.created',
    outcome: 'success',
    clientId: client.clientId,
    details: {
      secret_id: secretId,
      expires_at: expiresAt?.toISOString() ?? null,
      overlap_seconds: secret.overlapSeconds,
      previous: previous.map((one) => one.secretId),
    },
  });
  await recordChange(tx, { topic: 'client', key: client.clientId }, now);
  return { secretId, expiresAt, previous };
}

/** Ends one secret of a locked client at once. Does nothing if it has ended already. */
export async function endSecret(
  { tx, trail, origin, now }: UnitOfWork,
  client: ClientWithSecrets,
  secretId: string,
): Promise<void> {
  const secret = client.secrets.find((one) => one.secretId === secretId);
  if (!secret) throw notFound(`${client.clientId} has no secret with the id ${secretId}.`);
  if (secret.endedAt) return;
  await sendIn(tx, tx.updateTable('client_secrets').set({ ended_at: now }).where('secret_id', '=', secretId));
  await trail.recordIn(tx, origin, {
    event: 'secret.ended',
    outcome: 'success',
    clientId: client.clientId,
    details: { secret_id: secretId },
  });
  await recordChange(tx, { topic: 'client', key: client.clientId }, now);
}

function columns(check: SecretCheck) {
  if ('argon2id' in check)
    return { argon2id: check.argon2id, digest: null, pepper_id: null, hint: 'chosen by an operator' };
  return {
    argon2id: null,
    digest: check.pepper.digest(check.value.reveal()),
    pepper_id: check.pepper.id,
    hint: hintOf(check.value),
  };
}

/** The time when the secret ended or will end, in milliseconds since the epoch. */
function endOf({ endedAt, expiresAt }: StoredSecret): number {
  return Math.min(endedAt?.getTime() ?? Infinity, expiresAt?.getTime() ?? Infinity);
}

function earlier(a: Date | null, b: Date): Date {
  return a !== null && a < b ? a : b;
}
