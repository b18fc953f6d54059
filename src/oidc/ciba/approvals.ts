/**
 * What people are asked over the backchannel (CIBA), as their own pages see it. Only the account that the request is for
 * finds it; a request is decided once, in one statement that names the state before, and the decision and the record of
 * it are on disk together.
 */
import { errors, type AdapterPayload, type Provider } from 'oidc-provider';
import { sql, type Selectable } from 'kysely';
import type { Approval, ApprovingLogin } from '../../accounts/approval.ts';
import type { EventOf } from '../../audit/catalogue.ts';
import type { UnitOfWork } from '../../audit/unit_of_work.ts';
import { epochSeconds } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database } from '../../db/connection.ts';
import type { Tables } from '../../db/tables.ts';
import { refuseWithoutGrant } from '../storage/adapter.ts';
import { requestName } from './backchannel_request_store.ts';
import { sendPing } from './ping_delivery.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';

export interface ApprovalsSettings {
  readonly provider: () => Provider;
  readonly database: Database;
  readonly policy: ResourcePolicy;
}

/** An unlocked screen is not its owner: who approves has given their password within this time. */
const LOGIN_AT_MOST_SECONDS = 900;
const LISTED_AT_MOST = 50;

type Row = Selectable<Tables['backchannel_requests']>;

export class Approvals {
  readonly #settings: ApprovalsSettings;

  constructor(settings: ApprovalsSettings) {
    this.#settings = settings;
  }

  /** What waits for this person, the newest first. */
  async waiting(accountId: string, now: Date): Promise<Approval[]> {
    const rows = await this.#select(accountId)
      .where('status', '=', 'pending')
      .where('expires_at', '>', now)
      .orderBy('created_at', 'desc')
      .limit(LISTED_AT_MOST)
      .execute();
    const approvals = await Promise.all(rows.map((row) => this.#approval(row, now)));
    return approvals.filter((approval) => approval !== undefined);
  }

  /** A request for this very account, whatever became of it; `undefined` for everything else. */
  async find(accountId: string, id: string, now: Date): Promise<Approval | undefined> {
    const row = await this.#select(accountId).where('auth_req_id', '=', digestIn(id)).executeTakeFirst();
    return row && this.#approval(row, now);
  }

  /** Gives the client the grant. Answers whether the request still waited. */
  async approve(change: UnitOfWork, approval: Approval, grantId: string, login: ApprovingLogin): Promise<boolean> {
    const { authTime, acr, amr } = login;
    const { openid, claims, resources } = approval.scopes;
    const scopes = [...openid, ...claims, ...Object.values(resources).flat()];
    return decide(change, approval, {
      set: { status: 'approved', grant_id: sha256(grantId) },
      payload: { grantId, authTime, acr, amr },
      event: {
        event: 'backchannel_authentication.approved',
        outcome: 'success',
        details: { request: approval.id, scopes },
      },
    });
  }

  /** Answers whether the request still waited. */
  async deny(change: UnitOfWork, approval: Approval): Promise<boolean> {
    const { error } = new errors.AccessDenied();
    return decide(change, approval, {
      set: { status: 'denied' },
      payload: { error, errorDescription: 'the end-user denied the request' },
      event: { event: 'backchannel_authentication.denied', outcome: 'refused', details: { request: approval.id } },
    });
  }

  #select(accountId: string) {
    return this.#settings.database.selectFrom('backchannel_requests').selectAll().where('account_id', '=', accountId);
  }

  /** `undefined` where the client is gone or was revoked. */
  async #approval(row: Row, now: Date): Promise<Approval | undefined> {
    const { provider, policy } = this.#settings;
    const client = await provider().Client.find(row.client_id);
    if (!client) return undefined;
    const { scope, resource, asked_claims: claims } = row.payload as AdapterPayload & { asked_claims: string[] };
    return {
      id: requestName(row.auth_req_id as Digest),
      clientId: row.client_id,
      accountId: row.account_id,
      status: statusOf(row, now),
      scopes: { ...policy.sort(client, { scope, resource }), claims },
      bindingMessage: row.binding_message ?? undefined,
      address: row.address ?? undefined,
      askedAt: row.created_at,
      expiresAt: row.expires_at,
      loginSince: loginSince(row, now),
    };
  }
}

interface Decision {
  readonly set: { readonly status: 'approved' | 'denied'; readonly grant_id?: Digest };
  readonly payload: Readonly<Record<string, unknown>>;
  readonly event: EventOf<`backchannel_authentication.${'approved' | 'denied'}`>;
}

async function decide(
  { tx, trail, origin, now }: UnitOfWork,
  { id, accountId, clientId }: Approval,
  { set, payload, event }: Decision,
): Promise<boolean> {
  const deciding = tx
    .updateTable('backchannel_requests')
    .set({
      ...set,
      payload: sql`payload || ${JSON.stringify(payload)}::jsonb`,
      // a client that polled a moment ago, and is told, need not wait for the tokens
      polled_at: null,
    })
    .where('auth_req_id', '=', digestIn(id))
    .where('account_id', '=', accountId)
    .where('status', '=', 'pending')
    .where('expires_at', '>', now)
    .returning(['ping_id', 'ping_data_key_id', 'ping', 'expires_at'])
    .executeTakeFirst();
  const decided = await refuseWithoutGrant(deciding);
  if (!decided) return false;
  const { ping_id: messageId, ping_data_key_id: dataKeyId, ping: box, expires_at: expiresAt } = decided;
  if (messageId !== null && dataKeyId !== null && box !== null) {
    await sendPing(tx, { messageId, dataKeyId, box }, { clientId, accountId, expiresAt }, now);
  }
  await trail.recordIn(tx, origin, { ...event, accountId, clientId });
  return true;
}

/** Any text: what is no digest finds nothing. */
function digestIn(id: string): Digest {
  return Buffer.from(id, 'base64url') as Digest;
}

function statusOf({ status, expires_at }: Row, now: Date): Approval['status'] {
  if (status !== 'pending') return status;
  return expires_at > now ? 'waiting' : 'expired';
}

/** A client may want a younger login (`max_age`), with 0 one that is made for this request. */
function loginSince({ max_age_seconds: maxAgeSeconds, created_at }: Row, now: Date): number {
  if (maxAgeSeconds === 0) return epochSeconds(created_at);
  return epochSeconds(now) - Math.min(maxAgeSeconds ?? LOGIN_AT_MOST_SECONDS, LOGIN_AT_MOST_SECONDS);
}
