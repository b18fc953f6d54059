/**
 * The library's storage adapter for PostgreSQL. Bearer values are stored as digests, separately for each kind; one
 * statement decides about single use; a token can be stored only while its grant exists, and is deleted with it (the
 * foreign key ensures both).
 */
import { createHash } from 'node:crypto';
import { errors, Provider, type Adapter, type AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { addSeconds, epochSeconds, type Clock } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { PreparedStatement } from '../../db/prepared.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { open, seal } from '../../vault/seal.ts';
import { keyOfProof } from '../sender_constraint/dpop.ts';
import { endGrantWithRequest, GrantStore } from './grant_store.ts';
import { payloadJson } from './payload_json.ts';
import { prefetch, takeSession } from './request_prefetch.ts';
import type { RefreshTokenFamilies } from './refresh_token_families.ts';
import { InteractionGone, LostRace, writeWithRequest } from '../request/request_writes.ts';
import { SessionStore } from './session_store.ts';
import { readTokenRow, takeBackToken, takeBackUse, timeOfUse, useArtifact, type TokenRow } from './token_rows.ts';
import type { UnansweredUses } from '../request/unanswered_uses.ts';

export interface ArtifactSettings {
  readonly database: Database;
  readonly clock: Clock;
  /**
   * For this long, a used refresh token that is presented again still gets a successor, because the first answer may
   * have been lost.
   */
  readonly refreshGraceSeconds: number;
  readonly families: RefreshTokenFamilies;
  readonly unanswered: UnansweredUses;
  readonly sessionAbsoluteTtlSeconds: number;
  readonly roles: RoleDirectory;
}

/** The kinds that belong to a grant. */
const UNDER_A_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

/**
 * Kinds that contain other bearer values (a session's cookie, an ID token as a hint). They are encrypted with a key
 * that is derived from their own id, which is not stored.
 */
const SEALED = new Set(['Interaction', 'PushedAuthorizationRequest']);

/** What a person has done so far; it is kept even if the request that it belongs to is refused. */
const OF_THE_PERSON = new Set(['Session', 'Interaction']);

/** Inserts or replaces an artifact. A code or token whose grant was deleted during the request is refused. */
const STORE = new PreparedStatement(
  'gatehouse_store_artifact',
  `insert into artifacts (kind, artifact_id, grant_id, client_id, created_at, payload, expires_at, account_id, uid)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (kind, artifact_id) do update set payload = excluded.payload, expires_at = excluded.expires_at,
      account_id = excluded.account_id, uid = excluded.uid`,
  asInvalidGrant,
);

/** The kinds for which the library then reads the related rows. */
const RELATED = new Set(['AuthorizationCode', 'RefreshToken', 'Session']);

/** Returns the library's adapter factory, which makes one store for each kind of artifact. */
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
    const artifactId = sha256(id);
    const grantId = UNDER_A_GRANT.has(this.#kind) && payload.grantId ? sha256(payload.grantId) : null;
    const expiresAt = addSeconds(now, expiresIn);
    const row = [
      this.#kind,
      artifactId,
      grantId,
      payload.clientId ?? null,
      now,
      payloadJson(this.#encode(id, payload)),
      expiresAt,
      (this.#kind === 'Interaction' ? accountOfLogin(payload) : payload.accountId) ?? null,
      this.#kind === 'Session' ? (payload.uid ?? null) : null,
    ];
    const { parJti } = payload;
    await writeWithRequest(
      database,
      async (tx) => {
        if (parJti !== undefined) await keepPushedRequest(tx, parJti, expiresAt);
        await STORE.sendIn(tx, ...row);
      },
      {
        evenIfRefused: OF_THE_PERSON.has(this.#kind),
        takeBack: grantId ? (tx) => takeBackToken(tx, { kind: this.#kind, id: artifactId }) : undefined,
      },
    );
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const row = RELATED.has(this.#kind)
      ? await this.#findWithRelated(id)
      : await this.#select().where('artifact_id', '=', sha256(id)).executeTakeFirst();
    if (!row) return this.#findNewestOfFamily(id);
    return { ...this.#decode(id, row.payload), jti: id, ...this.#consumption(row.consumed_at) };
  }

  /**
   * Finds a refresh token whose row is already deleted: returns the newest token of its family, marked as used. Several
   * logins of a session share a grant, and each may have bound its tokens to its own key, so this prefers the newest
   * token of the key that the request proves.
   */
  async #findNewestOfFamily(id: string): Promise<AdapterPayload | undefined> {
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
    // the session may belong to another login under the same grant, so its end must not prevent the family's end
    const { expiresWithSession: _, ...payload } = newest.payload as AdapterPayload;
    return { ...payload, jti: id, consumed: now };
  }

  /** Only sessions are found by uid. The result is read and never saved, so it needs no id. */
  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    const read = takeSession(uid);
    if (read) return read;
    const row = await this.#select().where('uid', '=', uid).executeTakeFirst();
    return row?.payload;
  }

  /** Device codes have their own store (device_code_store.ts). */
  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /**
   * Consumes the row for one of several simultaneous requests. The others have presented a used value: they are
   * refused, and its grant ends.
   */
  async consume(id: string): Promise<void> {
    const { database, clock, families } = this.#settings;
    const now = clock();
    const graceBegan = this.#graceBegan(now);
    const keptUntil = this.#kind === 'RefreshToken' ? families.keptUntil(id, now) : undefined;
    const used = { kind: this.#kind, id: sha256(id) };
    const usedAt = timeOfUse(now);
    await writeWithRequest(
      database,
      async (tx) => {
        if (!(await useArtifact(tx, used, { usedAt, keptUntil, graceBegan }))) await this.#refuseUsed(tx, used.id);
      },
      { takeBack: (tx) => takeBackUse(tx, used, usedAt) },
    );
  }

  async destroy(id: string): Promise<void> {
    const { database } = this.#settings;
    const loggedIn = this.#kind === 'Interaction' ? Provider.ctx?.oidc.entities.Interaction?.result?.login : undefined;
    await writeWithRequest(
      database,
      async (tx) => {
        if (loggedIn) await lockAccount(tx, loggedIn.accountId);
        const { numDeletedRows } = await tx
          .deleteFrom('artifacts')
          .where('kind', '=', this.#kind)
          .where('artifact_id', '=', sha256(id))
          .executeTakeFirst();
        if (this.#kind === 'Interaction' && numDeletedRows === 0n) throw new InteractionGone();
      },
      { evenIfRefused: OF_THE_PERSON.has(this.#kind) },
    );
  }

  /** Deletes the grant's row, and with it everything that belongs to the grant, of any kind. */
  async revokeByGrantId(grantId: string): Promise<void> {
    await endGrantWithRequest(this.#settings.database, grantId);
  }

  /** Related rows that are missing here are queried again by the library, and are not found then either. */
  async #findWithRelated(id: string): Promise<TokenRow | undefined> {
    const { database, roles } = this.#settings;
    const row = await readTokenRow(database, { kind: this.#kind, id: sha256(id), withGroups: roles.hasGroups });
    if (row) prefetch(row);
    return row;
  }

  #select() {
    return this.#settings.database
      .selectFrom('artifacts')
      .select(['payload', 'consumed_at'])
      .where('kind', '=', this.#kind);
  }

  /** Within the grace period a used refresh token counts as unused, but only at the token endpoint. */
  #consumption(consumedAt: Date | null): { consumed?: number } {
    if (!consumedAt) return {};
    this.#settings.unanswered.demandSettled(consumedAt);
    const graceBegan = this.#graceBegan(this.#settings.clock());
    const isWithinGrace = graceBegan && consumedAt > graceBegan && Provider.ctx?.oidc.route === 'token';
    return isWithinGrace ? {} : { consumed: epochSeconds(consumedAt) };
  }

  /**
   * The earliest use that is within the grace period. `undefined` without a grace period, so that clocks of other
   * nodes, which may be ahead, have no influence.
   */
  #graceBegan(now: Date): Date | undefined {
    const { refreshGraceSeconds } = this.#settings;
    if (this.#kind !== 'RefreshToken' || refreshGraceSeconds === 0) return undefined;
    return this.#settings.unanswered.before(now, refreshGraceSeconds);
  }

  async #refuseUsed(tx: Tx, artifactId: Digest): Promise<never> {
    if (this.#kind === 'PushedAuthorizationRequest') {
      throw new LostRace(new errors.InvalidRequestUri('request_uri was already used'), 'request_uri.reused');
    }
    const row = await tx
      .selectFrom('artifacts')
      .select('payload')
      .where('kind', '=', this.#kind)
      .where('artifact_id', '=', artifactId)
      .executeTakeFirst();
    const refusal = new errors.InvalidGrant(`${this.#kind} was already used`);
    const event = this.#kind === 'RefreshToken' ? 'refresh_token.reused' : 'code.reused';
    throw new LostRace(refusal, event, (row?.payload as { grantId?: string } | undefined)?.grantId);
  }

  #encode(id: string, { jti: _, ...payload }: AdapterPayload): object {
    if (!SEALED.has(this.#kind)) return payload;
    const box = seal(keyFrom(this.#kind, id), Buffer.from(payloadJson(payload)), this.#kind);
    return { sealed: box.toString('base64') };
  }

  #decode(id: string, payload: object): AdapterPayload {
    if (!('sealed' in payload)) return payload as AdapterPayload;
    const box = Buffer.from(String(payload.sealed), 'base64');
    return JSON.parse(open(keyFrom(this.#kind, id), box, this.#kind).toString()) as AdapterPayload;
  }
}

/**
 * The account that logged in, in an interaction whose result the browser has not yet returned to the request. The
 * interaction then belongs to the account, and ends with its sessions: a login with a password that was changed since
 * is refused.
 */
function accountOfLogin({ result }: AdapterPayload): string | undefined {
  return result?.login?.accountId;
}

/**
 * Locks the account before the interaction, in the same order as a change of the account, such as a new password. So
 * either the change waits for this login and ends it, or this login waits for the change and then finds no interaction.
 */
async function lockAccount(tx: Tx, accountId: string): Promise<void> {
  await tx.selectFrom('accounts').select('account_id').where('account_id', '=', accountId).forShare().execute();
}

/**
 * Keeps the pushed request's row for as long as its interaction can end in an answer, so that a second answer is
 * refused.
 */
async function keepPushedRequest(tx: Tx, id: string, until: Date): Promise<void> {
  await tx
    .updateTable('artifacts')
    .set({ expires_at: sql<Date>`greatest(expires_at, ${until}::timestamptz)` })
    .where('kind', '=', 'PushedAuthorizationRequest')
    .where('artifact_id', '=', sha256(id))
    .execute();
}

const FOREIGN_KEY_VIOLATION = '23503';

/** Turns a foreign key violation (the grant, client or account was deleted during the request) into `invalid_grant`. */
export async function refuseWithoutGrant<T>(saving: Promise<T>): Promise<T> {
  try {
    return await saving;
  } catch (error) {
    throw asInvalidGrant(error);
  }
}

function asInvalidGrant(error: unknown): unknown {
  const gone = (error as { code?: unknown }).code === FOREIGN_KEY_VIOLATION;
  return gone ? new errors.InvalidGrant('the grant has ended') : error;
}

/** Derives the key from the id; the database stores only another digest of the id. */
function keyFrom(kind: string, id: string): Buffer {
  return createHash('sha256').update(`gatehouse ${kind.toLowerCase()} ${id}`).digest();
}
