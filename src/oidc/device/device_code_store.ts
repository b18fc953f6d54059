/**
 * Device codes (RFC 8628) in PostgreSQL. A code's status goes from `pending` through `claimed` to `approved`, or to
 * `denied`. Each step is one statement that checks the previous status, so of two browsers or nodes one succeeds and
 * the other gets an error. Neither code is stored in clear: the device code as SHA-256, the short user code as a keyed
 * digest.
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
import { endGrantWithRequest } from '../storage/grant_store.ts';
import { DEVICE_PAGES, note, notesOf } from '../request/request_events.ts';
import { payloadJson } from '../storage/payload_json.ts';
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

export interface DeviceCodeSettings {
  readonly database: Database;
  readonly clock: Clock;
  readonly unanswered: UnansweredUses;
  /** Computes a keyed digest of a user code, which is too short for a plain hash. The same on every node. */
  readonly digestUserCode: (userCode: string) => Digest;
}

const DEVICE_CODES = { table: 'device_codes', id: 'device_code' } as const;

/**
 * The name of a code on the person's pages, which never learn the device code. With the user code, so that the page that
 * asks for the decision can show it; such names are kept only in encrypted interactions.
 */
const NAME = /^device code ([\w-]{43}) with user code ([A-Z0-9]+)$/;

function nameOf(deviceCode: Digest, userCode: string): string {
  return `device code ${deviceCode.toString('base64url')} with user code ${userCode}`;
}

const UNIQUE_VIOLATION = '23505';

/** Another browser or tab has continued with the code. */
export class CodeTaken extends errors.InvalidRequest {
  constructor() {
    super('the code was already used');
  }
}

export class DeviceCodeStore implements Adapter {
  readonly #settings: DeviceCodeSettings;

  constructor(settings: DeviceCodeSettings) {
    this.#settings = settings;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const known = namedIn(id);
    if (known) await this.#advance(known.deviceCode, payload);
    else await this.#begin(id, payload, expiresIn);
  }

  /** A poll at the token endpoint, a read on the person's pages. */
  async find(id: string): Promise<AdapterPayload | undefined> {
    const ctx = Provider.ctx;
    const named = namedIn(id);
    const row =
      ctx?.oidc.route === 'token' ? await this.#poll(ctx, id) : await this.#read(named?.deviceCode ?? sha256(id));
    if (!row) return undefined;
    if (row.consumed_at) this.#settings.unanswered.demandSettled(row.consumed_at);
    if ('polled_too_soon' in row) refuseUsedAtOnce(row, 'device code');
    const consumed = row.consumed_at ? { consumed: epochSeconds(row.consumed_at) } : {};
    return { ...row.payload, jti: id, ...consumed, ...(named && { userCode: named.userCode }) };
  }

  /** Finds a code that is pending, or that this browser has claimed and not finished with. */
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
    return { ...payload, userCode, jti: nameOf(row.device_code as Digest, userCode) };
  }

  async consume(id: string): Promise<void> {
    const { database, clock } = this.#settings;
    const use = { digest: sha256(id), usedAt: timeOfUse(clock()) };
    await writeWithRequest(
      database,
      async (tx) => {
        const taken = await takeDecision(tx, DEVICE_CODES, use);
        if (!taken) throw new errors.InvalidGrant('the device code was already used');
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
    await endGrantWithRequest(this.#settings.database, grantId);
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
      payload: payloadJson(storedPayload(payload)),
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

  /** Stores the person's decision and its audit event in one transaction. */
  async #advance(deviceCode: Digest, payload: AdapterPayload): Promise<void> {
    const ctx = Provider.ctx!;
    const { status, event } = decisionIn(payload);
    const afterClaim = payload.inFlight === true && status !== 'claimed';
    const browser = browserOf(ctx);
    const change = {
      status,
      payload: payloadJson(storedPayload(payload)),
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

  #read(deviceCode: Digest) {
    return this.#settings.database
      .selectFrom('device_codes')
      .select(['payload', 'consumed_at'])
      .where('device_code', '=', deviceCode)
      .executeTakeFirst();
  }
}

/**
 * Parses a name that `findByUserCode` returned. The pages get such names from the database or an encrypted interaction.
 * At the token endpoint, where callers choose the value, no value is parsed as one.
 */
function namedIn(id: string): { readonly deviceCode: Digest; readonly userCode: string } | undefined {
  const [, digest, userCode] = NAME.exec(id) ?? [];
  if (digest === undefined || userCode === undefined || !DEVICE_PAGES.has(Provider.ctx?.oidc.route ?? ''))
    return undefined;
  return { deviceCode: Buffer.from(digest, 'base64url') as Digest, userCode };
}

/** A browser that opens the link again after it has claimed the code may continue. */
function claimedBy(browser: Digest, eb: ExpressionBuilder<Tables, 'device_codes'>) {
  return [eb('status', '=', 'claimed'), eb('claimed_by', '=', browser)];
}

/** The session's uid, which a login does not change. */
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
    const accountOfSession = Provider.ctx?.oidc.session?.accountId;
    return {
      status: 'denied',
      event: { event: 'device.denied', outcome: 'refused', clientId, accountId: accountOfSession, details },
    };
  }
  if (!accountId) return { status: 'claimed' };
  const resources = [resource].flat().filter((one) => one !== undefined);
  const details = { scope, resources };
  return { status: 'approved', event: { event: 'device.confirmed', outcome: 'success', clientId, accountId, details } };
}

/** Without the two codes, and without a hint, which is not read again and may be a token. */
function storedPayload({ jti: _, userCode: __, params, ...payload }: AdapterPayload): object {
  const { id_token_hint: ___, ...kept } = params ?? {};
  return { ...payload, params: kept };
}

/** Answers 503 if the new user code exists already, which is very unlikely; a retry gets another code. */
function asUnavailable(error: unknown): never {
  if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
  throw new Unavailable('The user code exists already.', { cause: error });
}
