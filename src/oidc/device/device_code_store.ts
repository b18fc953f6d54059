/**
 * Device codes (RFC 8628) on Postgres. A code goes `pending → claimed → approved`, or to `denied`; every step is one
 * statement that names the step before, so of two browsers, or two nodes, one goes on and the other is told so. Neither
 * code is stored: the device's is kept as SHA-256, the person's, which is short, as a digest under a key.
 */
import { errors, Provider, type Adapter, type AdapterPayload, type KoaContextWithOIDC } from 'oidc-provider';
import type { ExpressionBuilder } from 'kysely';
import type { AuditEvent } from '../../audit/events.ts';
import { addSeconds, epochSeconds, type Clock } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import { Unavailable } from '../../base/unavailable.ts';
import type { Database } from '../../db/connection.ts';
import type { Tables } from '../../db/tables.ts';
import { refuseWithoutGrant } from '../storage/adapter.ts';
import { endGrant } from '../storage/grant_store.ts';
import { DEVICE_PAGES, note, notesOf } from '../request/request_events.ts';
import { payloadJson } from '../storage/payload_json.ts';
import { countPoll, forgetPoll, INTERVAL_SECONDS, takeBackDecision, takeDecision } from '../grants/polling.ts';
import { timeOfUse } from '../storage/token_rows.ts';
import { writeWithRequest } from '../request/request_writes.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface DeviceCodeSettings {
  readonly database: Database;
  readonly clock: Clock;
  readonly unanswered: UnansweredUses;
  /** Digests a user code under a key: it is too short for a plain hash to hide it. The same on every node. */
  readonly digestUserCode: (userCode: string) => Digest;
}

const DEVICE_CODES = { table: 'device_codes', id: 'device_code' } as const;

/** How the person's pages name a code, whose value they never learn. */
const BY_DIGEST = 'device code by digest ';
const UNIQUE_VIOLATION = '23505';

/** The code went on without this browser: another one, or another tab, was faster. */
export class CodeTaken extends errors.InvalidRequest {
  constructor() {
    super('the code has been used in the meantime');
  }
}

export class DeviceCodeStore implements Adapter {
  readonly #settings: DeviceCodeSettings;

  constructor(settings: DeviceCodeSettings) {
    this.#settings = settings;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const known = digestIn(id);
    if (known) await this.#advance(known, payload);
    else await this.#begin(id, payload, expiresIn);
  }

  /** At the token endpoint this is a poll; on the person's pages it is a look. */
  async find(id: string): Promise<AdapterPayload | undefined> {
    const ctx = Provider.ctx;
    const row = ctx?.oidc.route === 'token' ? await this.#poll(ctx, id) : await this.#look(digestIn(id) ?? sha256(id));
    if (!row) return undefined;
    if (row.consumed_at) this.#settings.unanswered.demandSettled(row.consumed_at);
    const consumed = row.consumed_at ? { consumed: epochSeconds(row.consumed_at) } : {};
    return { ...row.payload, jti: id, ...consumed };
  }

  /** A code that still waits for its person, or that this very browser has confirmed and not finished with. */
  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    const { database, clock, digestUserCode } = this.#settings;
    const browser = browserOf(Provider.ctx!);
    const row = await database
      .selectFrom('device_codes')
      .select(['device_code', 'payload'])
      .where('user_code', '=', digestUserCode(userCode))
      .where('expires_at', '>', clock())
      .where(({ or, eb }) => or([eb('status', '=', 'pending'), eb.and(claimedBy(browser, eb))]))
      .executeTakeFirst();
    if (!row) return undefined;
    const { inFlight: _, ...payload } = row.payload as AdapterPayload;
    return { ...payload, userCode, jti: BY_DIGEST + row.device_code.toString('base64url') };
  }

  async consume(id: string): Promise<void> {
    const { database, clock } = this.#settings;
    const use = { digest: sha256(id), usedAt: timeOfUse(clock()) };
    await writeWithRequest(
      database,
      async (tx) => {
        const taken = await takeDecision(tx, DEVICE_CODES, use);
        if (!taken) throw new errors.InvalidGrant('the device code was used already');
      },
      { takeBack: (tx) => takeBackDecision(tx, DEVICE_CODES, use) },
    );
  }

  async destroy(id: string): Promise<void> {
    await writeWithRequest(this.#settings.database, async (tx) => {
      await tx.deleteFrom('device_codes').where('device_code', '=', sha256(id)).execute();
    });
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await writeWithRequest(this.#settings.database, (tx) => endGrant(tx, grantId));
  }

  findByUid(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async #begin(id: string, { userCode, ...payload }: AdapterPayload, expiresIn: number): Promise<void> {
    const { database, clock, digestUserCode } = this.#settings;
    const now = clock();
    const row = {
      device_code: sha256(id),
      user_code: digestUserCode(userCode!),
      client_id: payload.clientId!,
      status: 'pending' as const,
      claimed_by: null,
      account_id: null,
      grant_id: null,
      payload: payloadJson(packed(payload)),
      interval_seconds: INTERVAL_SECONDS,
      polled_at: null,
      consumed_at: null,
      created_at: now,
      expires_at: addSeconds(now, expiresIn),
    };
    await writeWithRequest(database, async (tx) => {
      await refuseWithoutGrant(tx.insertInto('device_codes').values(row).execute()).catch(asUnavailable);
    });
  }

  /** What the person decided and the record of it are on disk together, or neither is. */
  async #advance(deviceCode: Digest, payload: AdapterPayload): Promise<void> {
    const ctx = Provider.ctx!;
    const { status, event } = decisionIn(payload);
    const afterClaim = payload.inFlight === true && status !== 'claimed';
    const browser = browserOf(ctx);
    const change = {
      status,
      payload: payloadJson(packed(payload)),
      ...(status === 'claimed' && { claimed_by: browser }),
      ...(status === 'approved' && { account_id: payload.accountId!, grant_id: sha256(payload.grantId!) }),
    };
    if (event) note(ctx, event);
    await writeWithRequest(this.#settings.database, async (tx) => {
      const advancing = tx
        .updateTable('device_codes')
        .set(change)
        .where('device_code', '=', deviceCode)
        .where(({ or, eb }) =>
          or([eb('status', '=', afterClaim ? 'claimed' : 'pending'), eb.and(claimedBy(browser, eb))]),
        )
        .executeTakeFirst();
      const { numUpdatedRows } = await refuseWithoutGrant(advancing);
      if (numUpdatedRows === 0n) throw new CodeTaken();
    });
  }

  #poll(ctx: KoaContextWithOIDC, id: string) {
    const { database, clock } = this.#settings;
    const digest = sha256(id);
    notesOf(ctx).releases.push((tx) => forgetPoll(tx, DEVICE_CODES, digest));
    return countPoll(database, DEVICE_CODES, { digest, clientId: ctx.oidc.client!.clientId, now: clock() });
  }

  #look(deviceCode: Digest) {
    return this.#settings.database
      .selectFrom('device_codes')
      .select(['payload', 'consumed_at'])
      .where('device_code', '=', deviceCode)
      .executeTakeFirst();
  }
}

/**
 * The digest in a name that `findByUserCode` gave out. The pages get such names from the database or from a sealed
 * interaction; at the token endpoint, where callers bring their own, none is one.
 */
function digestIn(id: string): Digest | undefined {
  if (!id.startsWith(BY_DIGEST) || !DEVICE_PAGES.has(Provider.ctx?.oidc.route ?? '')) return undefined;
  return Buffer.from(id.slice(BY_DIGEST.length), 'base64url') as Digest;
}

/** A browser that opens the link again after it has confirmed the code goes on. */
function claimedBy(browser: Digest, eb: ExpressionBuilder<Tables, 'device_codes'>) {
  return [eb('status', '=', 'claimed'), eb('claimed_by', '=', browser)];
}

/** The session's name, which stays the same through a login. */
function browserOf({ oidc }: KoaContextWithOIDC): Digest {
  return sha256(`browser ${oidc.session!.uid}`);
}

interface Decision {
  readonly status: 'claimed' | 'approved' | 'denied';
  readonly event?: AuditEvent;
}

function decisionIn({ accountId, clientId, error, errorDescription, scope, resource }: AdapterPayload): Decision {
  if (error) {
    const details = { error, reason: errorDescription };
    const who = Provider.ctx?.oidc.session?.accountId;
    return {
      status: 'denied',
      event: { event: 'device.denied', outcome: 'refused', clientId, accountId: who, details },
    };
  }
  if (!accountId) return { status: 'claimed' };
  const resources = [resource].flat().filter((one) => one !== undefined);
  const details = { scope, resources };
  return { status: 'approved', event: { event: 'device.confirmed', outcome: 'success', clientId, accountId, details } };
}

/** Without the two codes, and without a hint that nobody looks at again and that may be a token. */
function packed({ jti: _, userCode: __, params, ...payload }: AdapterPayload): object {
  const { id_token_hint: ___, ...kept } = params ?? {};
  return { ...payload, params: kept };
}

/** Two codes alike, which some billions of codes make unlikely: the next try gets another one. */
function asUnavailable(error: unknown): never {
  if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
  throw new Unavailable('The user code is taken.', { cause: error });
}
