/**
 * Backchannel authentication requests (CIBA) in PostgreSQL, as their client sees them: created at the backchannel
 * authentication endpoint, polled at the token endpoint. A row's key is the SHA-256 of its `auth_req_id`, which is also
 * its name on the person's pages. approvals.ts has the person's decision.
 */
import { errors, Provider, type Adapter, type AdapterPayload, type KoaContextWithOIDC } from 'oidc-provider';
import { sql } from 'kysely';
import type { AuditEvent } from '../../audit/events.ts';
import { addSeconds, DAY_SECONDS, epochSeconds, type Clock } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { requestOf } from '../../http/request_context.ts';
import type { SealedSecret } from '../../outbox/message.ts';
import type { Vault } from '../../vault/vault.ts';
import { refuseWithoutGrant } from '../storage/adapter.ts';
import { endGrantWithRequest } from '../storage/grant_store.ts';
import { note, notesOf } from '../request/request_events.ts';
import { payloadJson } from '../storage/payload_json.ts';
import { sealPing } from './ping_delivery.ts';
import {
  countPoll,
  forgetPoll,
  INTERVAL_SECONDS,
  refuseUsedAtOnce,
  takeBackDecision,
  takeDecision,
} from '../grants/polling.ts';
import { timeOfUse } from '../storage/token_rows.ts';
import { writeWithRequest } from '../request/request_writes.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface BackchannelRequestSettings {
  readonly database: Database;
  readonly clock: Clock;
  readonly unanswered: UnansweredUses;
  readonly vault: Vault;
}

const BACKCHANNEL_REQUESTS = { table: 'backchannel_requests', id: 'auth_req_id' } as const;

/** A person can review a few requests; a longer list may be an attempt to get one approved by mistake. */
const WAITING_OF_ONE_CLIENT = 20;
const WAITING_OF_ALL = 50;
/**
 * Limits the requests of one client to one person within `ASKED_WITHIN_SECONDS`: a person who is asked many times may
 * approve only to end the requests.
 */
const ASKED_AT_MOST = 100;
const ASKED_WITHIN_SECONDS = 600;
const RETRY_AFTER_SECONDS = 60;

/**
 * Too many requests for one person, or too many hints without an account. CIBA (13) defines the error code; 429 is the
 * HTTP status.
 */
export class RequestLimitReached extends errors.OIDCProviderError {
  readonly retryAfterSeconds: number;

  constructor(reason: string, retryAfterSeconds: number = RETRY_AFTER_SECONDS) {
    super(429, 'access_denied');
    this.error_description = reason;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export class BackchannelRequestStore implements Adapter {
  readonly #settings: BackchannelRequestSettings;

  constructor(settings: BackchannelRequestSettings) {
    this.#settings = settings;
  }

  /** Stores a pending request with its audit event, which a notification service may read. */
  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const { database, clock } = this.#settings;
    const ctx = Provider.ctx!;
    const now = clock();
    const expiresAt = addSeconds(now, expiresIn);
    const { binding_message: message } = payload.params ?? {};
    const ping = await this.#ping(ctx, id, payload, now);
    const row = {
      auth_req_id: sha256(id),
      client_id: payload.clientId!,
      account_id: payload.accountId!,
      status: 'pending' as const,
      grant_id: null,
      binding_message: typeof message === 'string' ? message : null,
      max_age_seconds: maxAgeSeconds(ctx) ?? null,
      address: requestOf(ctx).address,
      payload: payloadJson(storedPayload(payload)),
      ping_id: ping?.messageId ?? null,
      ping_data_key_id: ping?.dataKeyId ?? null,
      ping: ping?.box ?? null,
      interval_seconds: INTERVAL_SECONDS,
      polled_at: null,
      consumed_at: null,
      created_at: now,
      expires_at: expiresAt,
    };
    note(ctx, requestedEvent(id, payload, expiresAt));
    await writeWithRequest(database, async (tx) => {
      await enforceRequestLimits(tx, payload, now);
      await refuseWithoutGrant(tx.insertInto('backchannel_requests').values(row).execute());
    });
  }

  /** The library calls this only at the token endpoint, so it is a poll. */
  async find(id: string): Promise<AdapterPayload | undefined> {
    const { database, clock } = this.#settings;
    const ctx = Provider.ctx!;
    const { clientId } = ctx.oidc.client!;
    const digest = sha256(id);
    notesOf(ctx).releases.push((tx) => forgetPoll(tx, BACKCHANNEL_REQUESTS, digest));
    const row = await countPoll(database, BACKCHANNEL_REQUESTS, { digest, clientId, now: clock() });
    if (!row) return undefined;
    if (row.consumed_at) this.#settings.unanswered.demandSettled(row.consumed_at);
    refuseUsedAtOnce(row, 'auth_req_id');
    return { ...row.payload, jti: id, ...(row.consumed_at && { consumed: epochSeconds(row.consumed_at) }) };
  }

  async consume(id: string): Promise<void> {
    const { database, clock } = this.#settings;
    const use = { digest: sha256(id), usedAt: timeOfUse(clock()) };
    await writeWithRequest(
      database,
      async (tx) => {
        const taken = await takeDecision(tx, BACKCHANNEL_REQUESTS, use);
        if (!taken) throw new errors.InvalidGrant('the auth_req_id was already used');
      },
      { takeBack: (tx) => takeBackDecision(tx, BACKCHANNEL_REQUESTS, use) },
    );
  }

  async destroy(id: string): Promise<void> {
    await writeWithRequest(this.#settings.database, async (tx) => {
      await tx.deleteFrom('backchannel_requests').where('auth_req_id', '=', sha256(id)).execute();
    });
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await endGrantWithRequest(this.#settings.database, grantId);
  }

  findByUid(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** The sealed content of the notification, if the client uses ping mode. */
  async #ping(
    { oidc }: KoaContextWithOIDC,
    auth_req_id: string,
    { params = {} }: AdapterPayload,
    now: Date,
  ): Promise<SealedSecret | undefined> {
    if (oidc.client!.backchannelTokenDeliveryMode !== 'ping') return undefined;
    const client_notification_token = String(params['client_notification_token']);
    return sealPing(this.#settings.vault, { auth_req_id, client_notification_token }, now);
  }
}

/**
 * The library turns a `max_age` of 0 into the prompt `login`, and validates that others are whole numbers, without an
 * upper limit.
 */
function maxAgeSeconds({ oidc }: KoaContextWithOIDC): number | undefined {
  if (oidc.prompts.has('login')) return 0;
  const { max_age } = oidc.params ?? {};
  return max_age === undefined ? undefined : Math.min(Number(max_age), DAY_SECONDS);
}

/** The name of a request on pages and in logs. The token endpoint does not accept it. */
export function requestName(authReqId: Digest): string {
  return authReqId.toString('base64url');
}

/**
 * Refuses the request if too many are pending. The account's row is locked, so that simultaneous requests can't exceed
 * the limit.
 */
async function enforceRequestLimits(tx: Tx, { accountId, clientId }: AdapterPayload, now: Date): Promise<void> {
  const account = await tx
    .selectFrom('accounts')
    .select('account_id')
    .where('account_id', '=', accountId!)
    .where('disabled_at', 'is', null)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (!account) throw new errors.UnknownUserId('could not identify end-user');
  const waits = sql`status = 'pending' and expires_at > ${now}::timestamptz`;
  const count = (condition: typeof waits) => sql<number>`(count(*) filter (where ${condition}))::int`;
  const { waitingOfAll, waitingOfClient, asked } = await tx
    .selectFrom('backchannel_requests')
    .select([
      count(waits).as('waitingOfAll'),
      count(sql`${waits} and client_id = ${clientId}`).as('waitingOfClient'),
      count(sql`client_id = ${clientId} and created_at > ${addSeconds(now, -ASKED_WITHIN_SECONDS)}`).as('asked'),
    ])
    .where('account_id', '=', accountId!)
    .executeTakeFirstOrThrow();
  if (waitingOfClient >= WAITING_OF_ONE_CLIENT || waitingOfAll >= WAITING_OF_ALL) {
    throw new RequestLimitReached('too many requests are pending for this person');
  }
  if (asked >= ASKED_AT_MOST) throw new RequestLimitReached('too many requests for this person; try again later');
}

function requestedEvent(
  id: string,
  { clientId, accountId, scope, resource }: AdapterPayload,
  expiresAt: Date,
): AuditEvent {
  const resources = [resource].flat().filter((one) => one !== undefined);
  const details = { request: requestName(sha256(id)), scope, resources, expires_at: expiresAt.toISOString() };
  return { event: 'backchannel_authentication.requested', outcome: 'success', clientId, accountId, details };
}

/** Without the id, and without request parameters, which are not read again and may contain tokens. */
function storedPayload({ jti: _, params: __, ...payload }: AdapterPayload): object {
  return payload;
}
