/**
 * Backchannel authentication requests (CIBA) on Postgres, as their client sees them: begun at one endpoint, polled for at
 * the other. Each is kept under the SHA-256 of its `auth_req_id`, which also names it on the person's pages. How the
 * person decides is in approvals.ts.
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
import { endGrant } from '../storage/grant_store.ts';
import { note, notesOf } from '../request/request_events.ts';
import { payloadJson } from '../storage/payload_json.ts';
import { sealPing } from './ping_delivery.ts';
import { countPoll, forgetPoll, INTERVAL_SECONDS, takeBackDecision, takeDecision } from '../grants/polling.ts';
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

/** A person looks through a few requests; a page full of them is somebody's attempt to get one approved by mistake. */
const WAITING_OF_ONE_CLIENT = 20;
const WAITING_OF_ALL = 50;
/** Who is asked again and again says yes at last: so often may one client ask one person within so many seconds. */
const ASKED_AT_MOST = 100;
const ASKED_WITHIN_SECONDS = 600;
const RETRY_AFTER_SECONDS = 60;

/** Too many requests for one person, or with hints at nobody. CIBA (13) has this name for it, HTTP this status. */
export class AskedTooOften extends errors.OIDCProviderError {
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

  /** A request that waits for its person, and the record of it, which whoever notifies people may follow. */
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
      payload: payloadJson({ ...packed(payload), asked_claims: [...ctx.oidc.requestParamClaims] }),
      ping_id: ping?.messageId ?? null,
      ping_data_key_id: ping?.dataKeyId ?? null,
      ping: ping?.box ?? null,
      interval_seconds: INTERVAL_SECONDS,
      polled_at: null,
      consumed_at: null,
      created_at: now,
      expires_at: expiresAt,
    };
    note(ctx, requested(id, payload, expiresAt));
    await writeWithRequest(database, async (tx) => {
      await demandRoom(tx, payload, now);
      await refuseWithoutGrant(tx.insertInto('backchannel_requests').values(row).execute());
    });
  }

  /** The library looks for one at the token endpoint alone: this is a poll. */
  async find(id: string): Promise<AdapterPayload | undefined> {
    const { database, clock } = this.#settings;
    const ctx = Provider.ctx!;
    const { clientId } = ctx.oidc.client!;
    const digest = sha256(id);
    notesOf(ctx).releases.push((tx) => forgetPoll(tx, BACKCHANNEL_REQUESTS, digest));
    const row = await countPoll(database, BACKCHANNEL_REQUESTS, { digest, clientId, now: clock() });
    if (!row) return undefined;
    if (row.consumed_at) this.#settings.unanswered.demandSettled(row.consumed_at);
    return { ...row.payload, jti: id, ...(row.consumed_at && { consumed: epochSeconds(row.consumed_at) }) };
  }

  async consume(id: string): Promise<void> {
    const { database, clock } = this.#settings;
    const use = { digest: sha256(id), usedAt: timeOfUse(clock()) };
    await writeWithRequest(
      database,
      async (tx) => {
        const taken = await takeDecision(tx, BACKCHANNEL_REQUESTS, use);
        if (!taken) throw new errors.InvalidGrant('the auth_req_id was used already');
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
    await writeWithRequest(this.#settings.database, (tx) => endGrant(tx, grantId));
  }

  findByUid(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** What the client is told with, if it wants to be told. */
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

/** The library takes a `max_age` of 0 for a prompt, and has seen to it that others are whole numbers, however large. */
function maxAgeSeconds({ oidc }: KoaContextWithOIDC): number | undefined {
  if (oidc.prompts.has('login')) return 0;
  const { max_age } = oidc.params ?? {};
  return max_age === undefined ? undefined : Math.min(Number(max_age), DAY_SECONDS);
}

/** How a request is named where people and operators see it: of no use to anyone at the token endpoint. */
export function requestName(authReqId: Digest): string {
  return authReqId.toString('base64url');
}

/** The account's row is held meanwhile: of any number of requests at once no more get in than there is room for. */
async function demandRoom(tx: Tx, { accountId, clientId }: AdapterPayload, now: Date): Promise<void> {
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
    throw new AskedTooOften('too many requests wait for this person');
  }
  if (asked >= ASKED_AT_MOST) throw new AskedTooOften('this person was asked too often');
}

function requested(id: string, { clientId, accountId, scope, resource }: AdapterPayload, expiresAt: Date): AuditEvent {
  const resources = [resource].flat().filter((one) => one !== undefined);
  const details = { request: requestName(sha256(id)), scope, resources, expires_at: expiresAt.toISOString() };
  return { event: 'backchannel_authentication.requested', outcome: 'success', clientId, accountId, details };
}

/** Without the id, and without parameters that nobody looks at again and that may be tokens. */
function packed({ jti: _, params: __, ...payload }: AdapterPayload): object {
  return payload;
}
