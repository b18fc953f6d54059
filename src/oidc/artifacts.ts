/**
 * What oidc-provider stores, on Postgres. Bearer values are stored as digests and kinds are kept apart; single use is
 * one statement; a token can be stored only while its grant row lives, and goes with it (the foreign key sees to both).
 */
import { createHash } from 'node:crypto';
import { errors, Provider, type Adapter, type AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { addSeconds, epochSeconds, type Clock } from '../base/clock.ts';
import { sha256 } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { open, seal } from '../vault/seal.ts';
import { keyOfProof } from './dpop.ts';
import { endGrant, GrantStore } from './grant_store.ts';
import { payloadJson } from './payload_json.ts';
import { keepRelated, takeSession } from './read_together.ts';
import type { RefreshFamilies } from './refresh_families.ts';
import { SessionStore } from './session_store.ts';
import { readTokenRow, type TokenRow } from './token_rows.ts';

export interface ArtifactSettings {
  readonly database: Database;
  readonly clock: Clock;
  /** For how long a consumed refresh token presented again still gets a successor, for answers that were lost. */
  readonly refreshGraceSeconds: number;
  readonly families: RefreshFamilies;
  readonly sessionAbsoluteTtlSeconds: number;
  /** Hears that something single-use was presented again, and that its family is gone. */
  readonly onReuse: (kind: string, grantId: string | undefined) => void;
}

/** The kinds whose life hangs on a grant. */
const UNDER_A_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

/**
 * The kinds that quote other bearer values (a session's cookie, an ID token as a hint): sealed under a key that only
 * their own id, which is not stored, gives.
 */
const SEALED = new Set(['Interaction', 'PushedAuthorizationRequest']);

/** The kinds after which the library asks for what belongs to them. */
const RELATED = new Set(['AuthorizationCode', 'RefreshToken', 'Session']);

export function createAdapter(settings: ArtifactSettings): (kind: string) => Adapter {
  return (kind) => {
    if (kind === 'Grant') return new GrantStore(settings);
    const artifacts = new ArtifactStore(kind, settings);
    return kind === 'Session' ? new SessionStore({ ...settings, artifacts }) : artifacts;
  };
}

class ArtifactStore implements Adapter {
  readonly #kind: string;
  readonly #settings: ArtifactSettings;

  constructor(kind: string, settings: ArtifactSettings) {
    this.#kind = kind;
    this.#settings = settings;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const { database, clock } = this.#settings;
    const now = clock();
    const values = {
      payload: payloadJson(this.#packed(id, payload)),
      expires_at: addSeconds(now, expiresIn),
      account_id: (this.#kind === 'Interaction' ? loggedInTo(payload) : payload.accountId) ?? null,
      uid: this.#kind === 'Session' ? (payload.uid ?? null) : null,
    };
    if (payload.parJti !== undefined) await this.#keepPushedRequest(payload.parJti, values.expires_at);
    await refuseWithoutGrant(
      database
        .insertInto('artifacts')
        .values({
          kind: this.#kind,
          artifact_id: sha256(id),
          grant_id: UNDER_A_GRANT.has(this.#kind) && payload.grantId ? sha256(payload.grantId) : null,
          client_id: payload.clientId ?? null,
          consumed_at: null,
          created_at: now,
          ...values,
        })
        .onConflict((clash) => clash.columns(['kind', 'artifact_id']).doUpdateSet(values))
        .execute(),
    );
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const row = RELATED.has(this.#kind)
      ? await this.#findWithRelated(id)
      : await this.#select().where('artifact_id', '=', sha256(id)).executeTakeFirst();
    if (!row) return this.#usedLongAgo(id);
    return { ...this.#unpacked(id, row.payload), jti: id, ...this.#consumption(row.consumed_at) };
  }

  /**
   * The newest token of the family stands for it, as one that was used. Several sign-ins of a session share a grant, and
   * each may have bound its tokens to a key of its own: of these the newest one for the key that is shown.
   */
  async #usedLongAgo(id: string): Promise<AdapterPayload | undefined> {
    const { families, clock } = this.#settings;
    const now = epochSeconds(clock());
    const family = this.#kind === 'RefreshToken' ? families.read(id) : undefined;
    if (!family || family.expiresAt <= now) return undefined;
    const key = await keyOfProof(Provider.ctx);
    const newest = await this.#select()
      .where('grant_id', '=', family.grantId)
      .orderBy(sql`payload->>'jkt' is not distinct from ${key ?? null}`, 'desc')
      .orderBy('created_at', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (!newest) return undefined;
    // the session may be that of another sign-in under the same grant: that it has ended saves nobody
    const { expiresWithSession: _, ...payload } = newest.payload as AdapterPayload;
    return { ...payload, jti: id, consumed: now };
  }

  /** Sessions alone are found by uid; what is found this way is read, never saved, so it needs no id. */
  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    const read = takeSession(uid);
    if (read) return read;
    const row = await this.#select().where('uid', '=', uid).executeTakeFirst();
    return row?.payload;
  }

  /** Device codes have a store of their own (device_codes.ts). */
  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /**
   * Of any number of requests at once, one finds the row unconsumed. The others have presented something that was
   * used already: their family ends here, before they could get anything.
   */
  async consume(id: string): Promise<void> {
    const { database, clock, families } = this.#settings;
    const now = clock();
    const graceBegan = this.#graceBegan(now);
    const keptUntil = this.#kind === 'RefreshToken' ? families.keptUntil(id, now) : undefined;
    const { numUpdatedRows } = await database
      .updateTable('artifacts')
      .set({
        consumed_at: sql<Date>`coalesce(consumed_at, ${now}::timestamptz)`,
        expires_at: sql<Date>`least(expires_at, ${keptUntil ?? null}::timestamptz)`,
      })
      .where('kind', '=', this.#kind)
      .where('artifact_id', '=', sha256(id))
      .where(({ or, eb }) =>
        or([eb('consumed_at', 'is', null), ...(graceBegan ? [eb('consumed_at', '>', graceBegan)] : [])]),
      )
      .executeTakeFirst();
    if (numUpdatedRows > 0n) return;
    if (this.#kind === 'PushedAuthorizationRequest') this.#refuseUsedRequest();
    await this.#endFamily(id);
  }

  async destroy(id: string): Promise<void> {
    await this.#settings.database
      .deleteFrom('artifacts')
      .where('kind', '=', this.#kind)
      .where('artifact_id', '=', sha256(id))
      .execute();
  }

  /** Whatever the kind: the grant row goes, and everything under it with it. */
  async revokeByGrantId(grantId: string): Promise<void> {
    await endGrant(this.#settings.database, grantId);
  }

  /** What is missing is asked for again, and is not found then either. */
  async #findWithRelated(id: string): Promise<TokenRow | undefined> {
    const row = await readTokenRow(this.#settings.database, this.#kind, sha256(id));
    if (row) keepRelated(row);
    return row;
  }

  #select() {
    return this.#settings.database
      .selectFrom('artifacts')
      .select(['payload', 'consumed_at'])
      .where('kind', '=', this.#kind);
  }

  /** Within its grace a consumed refresh token looks unused, but at the token endpoint only. */
  #consumption(consumedAt: Date | null): { consumed?: number } {
    if (!consumedAt) return {};
    const graceBegan = this.#graceBegan(this.#settings.clock());
    const graceful = graceBegan && consumedAt > graceBegan && Provider.ctx?.oidc.route === 'token';
    return graceful ? {} : { consumed: epochSeconds(consumedAt) };
  }

  /** `undefined` where there is no grace: then no clock has a say, for the one that wrote the time may be ahead of ours. */
  #graceBegan(now: Date): Date | undefined {
    const { refreshGraceSeconds } = this.#settings;
    if (this.#kind !== 'RefreshToken' || refreshGraceSeconds === 0) return undefined;
    return addSeconds(now, -refreshGraceSeconds);
  }

  /** For as long as the interaction may end in an answer, the row must be there to say that there was one already. */
  async #keepPushedRequest(id: string, until: Date): Promise<void> {
    await this.#settings.database
      .updateTable('artifacts')
      .set({ expires_at: sql<Date>`greatest(expires_at, ${until}::timestamptz)` })
      .where('kind', '=', 'PushedAuthorizationRequest')
      .where('artifact_id', '=', sha256(id))
      .execute();
  }

  #refuseUsedRequest(): never {
    this.#settings.onReuse(this.#kind, undefined);
    throw new errors.InvalidRequestUri('request_uri was used already');
  }

  async #endFamily(id: string): Promise<never> {
    const row = await this.#select().where('artifact_id', '=', sha256(id)).executeTakeFirst();
    const grantId = row && (row.payload as AdapterPayload).grantId;
    if (grantId) await endGrant(this.#settings.database, grantId);
    this.#settings.onReuse(this.#kind, grantId);
    throw new errors.InvalidGrant(`${this.#kind} was used already`);
  }

  #packed(id: string, { jti: _, ...payload }: AdapterPayload): object {
    if (!SEALED.has(this.#kind)) return payload;
    const box = seal(keyFrom(this.#kind, id), Buffer.from(payloadJson(payload)), this.#kind);
    return { sealed: box.toString('base64') };
  }

  #unpacked(id: string, payload: object): AdapterPayload {
    if (!('sealed' in payload)) return payload as AdapterPayload;
    const box = Buffer.from(String(payload.sealed), 'base64');
    return JSON.parse(open(keyFrom(this.#kind, id), box, this.#kind).toString()) as AdapterPayload;
  }
}

/**
 * Whose password was given in an interaction that the browser has yet to take back to its request. It is theirs from
 * then on, so that it ends with their sessions: a login with a password that was changed since opens nothing.
 */
function loggedInTo({ result }: AdapterPayload): string | undefined {
  return result?.login?.accountId;
}

const FOREIGN_KEY_VIOLATION = '23503';

/** A token or code whose grant, client or account went away while it was being stored. */
export async function refuseWithoutGrant<T>(saving: Promise<T>): Promise<T> {
  try {
    return await saving;
  } catch (error) {
    if ((error as { code?: string }).code === FOREIGN_KEY_VIOLATION) throw new errors.InvalidGrant('the grant is gone');
    throw error;
  }
}

/** From the id itself, of which only another digest is stored. */
function keyFrom(kind: string, id: string): Buffer {
  return createHash('sha256').update(`gatehouse ${kind.toLowerCase()} ${id}`).digest();
}
