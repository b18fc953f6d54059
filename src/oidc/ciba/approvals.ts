/**
 * Backchannel authentication requests (CIBA) as the person's pages see them. Only the account that a request is for
 * finds it. A request is decided once, by one statement that checks the previous status, and the decision and its audit
 * event are committed together.
 */
import { errors, type AdapterPayload, type Provider } from 'oidc-provider';
import { sql, type Selectable } from 'kysely';
import type { Approval, ApprovingLogin } from '../../accounts/approval.ts';
import { claimOfEntry } from '../../accounts/data_for_apis.ts';
import type { EventOf } from '../../audit/catalogue.ts';
import type { UnitOfWork } from '../../audit/unit_of_work.ts';
import { epochSeconds } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database } from '../../db/connection.ts';
import type { Tables } from '../../db/tables.ts';
import { NO_MEMBERSHIPS, readMemberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import type { DemandedContexts } from '../authorization/demanded_context.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { refuseWithoutGrant } from '../storage/adapter.ts';
import { requestName } from './backchannel_request_store.ts';
import { sendPing } from './ping_delivery.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';

export interface ApprovalsSettings {
  readonly provider: () => Provider;
  readonly database: Database;
  readonly policy: ResourcePolicy;
  readonly roles: RoleDirectory;
  readonly demandedContexts: DemandedContexts;
}

/**
 * A person who approves must have entered their password within this time, because another person may use an unlocked
 * device.
 */
const LONGEST_LOGIN_AGE_SECONDS = 900;
const LISTED_AT_MOST = 50;

type Row = Selectable<Tables['backchannel_requests']>;

export class Approvals {
  readonly #settings: ApprovalsSettings;

  constructor(settings: ApprovalsSettings) {
    this.#settings = settings;
  }

  /** The pending requests of an account, newest first, 50 at most. */
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

  /** A request for this account, in any status; `undefined` if there is none. */
  async find(accountId: string, id: string, now: Date): Promise<Approval | undefined> {
    const row = await this.#select(accountId).where('auth_req_id', '=', digestIn(id)).executeTakeFirst();
    return row && this.#approval(row, now);
  }

  /** Approves the request with the grant. Resolves to false if it was no longer pending. */
  async approve(change: UnitOfWork, approval: Approval, grantId: string, login: ApprovingLogin): Promise<boolean> {
    const { authTime, acr, amr } = login;
    const { openid, claims, resources } = approval.scopes;
    const ofResources = Object.values(resources).flat();
    const scopes = [...new Set([...openid, ...claims, ...ofResources.map((name) => claimOfEntry(name) ?? name)])];
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

  /** Denies the request. Resolves to false if it was no longer pending. */
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

  /** `undefined` if the client was deleted or revoked. */
  async #approval(row: Row, now: Date): Promise<Approval | undefined> {
    const { provider, policy, roles, database, demandedContexts } = this.#settings;
    const client = await provider().Client.find(row.client_id);
    if (!client) return undefined;
    const memberships = roles.hasGroups ? await readMemberships(database, row.account_id) : NO_MEMBERSHIPS;
    const { scope, resource, claims } = row.payload as AdapterPayload;
    const scopes = policy.sort(client, { scope, resource, claims }, memberships);
    return {
      id: requestName(row.auth_req_id as Digest),
      clientId: row.client_id,
      accountId: row.account_id,
      status: statusOf(row, now),
      scopes,
      bindingMessage: row.binding_message ?? undefined,
      address: row.address ?? undefined,
      askedAt: row.created_at,
      expiresAt: row.expires_at,
      loginSince: loginSince(row, now),
      requiredAcr: demandedContexts.required({
        client: recordOf(client).metadata,
        memberships,
        resources: Object.keys(scopes.resources),
      }),
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
      // a client that polled a moment ago and then receives a ping may poll again at once
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

/** Decodes any text; a text that is not a digest finds no row. */
function digestIn(id: string): Digest {
  return Buffer.from(id, 'base64url') as Digest;
}

function statusOf({ status, expires_at }: Row, now: Date): Approval['status'] {
  if (status !== 'pending') return status;
  return expires_at > now ? 'waiting' : 'expired';
}

/**
 * The earliest login, in epoch seconds, that permits the approval. A client may require a younger one (`max_age`); 0
 * requires a login for this request.
 */
function loginSince({ max_age_seconds: maxAgeSeconds, created_at }: Row, now: Date): number {
  if (maxAgeSeconds === 0) return epochSeconds(created_at);
  return epochSeconds(now) - Math.min(maxAgeSeconds ?? LONGEST_LOGIN_AGE_SECONDS, LONGEST_LOGIN_AGE_SECONDS);
}
