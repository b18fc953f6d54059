/**
 * What oidc-provider stores, on Postgres. Bearer values are stored as digests and kinds are kept apart; single use is
 * one statement; a token can be stored only while its grant row lives, and goes with it (the foreign key sees to both).
 */
import { createHash } from 'node:crypto';
import { errors, Provider, type Adapter, type AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { addSeconds, epochSeconds, type Clock } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { PreparedStatement } from '../../db/prepared.ts';
import { open, seal } from '../../vault/seal.ts';
import { keyOfProof } from '../client_authentication/dpop.ts';
import { endGrant, GrantStore } from './grant_store.ts';
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
  /** For how long a consumed refresh token presented again still gets a successor, for answers that were lost. */
  readonly refreshGraceSeconds: number;
  readonly families: RefreshTokenFamilies;
  readonly unanswered: UnansweredUses;
  readonly sessionAbsoluteTtlSeconds: number;
}

/** The kinds whose life hangs on a grant. */
const UNDER_A_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

/**
 * The kinds that quote other bearer values (a session's cookie, an ID token as a hint): sealed under a key that only
 * their own id, which is not stored, gives.
 */
const SEALED = new Set(['Interaction', 'PushedAuthorizationRequest']);

/** What a person has done so far, which stands though the request that it is for is refused. */
const OF_THE_PERSON = new Set(['Session', 'Interaction']);

/** A code or token whose grant went away meanwhile is refused; what hangs on none is stored, or replaces what was. */
const STORE = new PreparedStatement(
  'gatehouse_store_artifact',
  `insert into artifacts (kind, artifact_id, grant_id, client_id, created_at, payload, expires_at, account_id, uid)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (kind, artifact_id) do update set payload = excluded.payload, expires_at = excluded.expires_at,
      account_id = excluded.account_id, uid = excluded.uid`,
  withoutGrant,
);

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
    const artifactId = sha256(id);
    const grantId = UNDER_A_GRANT.has(this.#kind) && payload.grantId ? sha256(payload.grantId) : null;
    const expiresAt = addSeconds(now, expiresIn);
    const row = [
      this.#kind,
      artifactId,
      grantId,
      payload.clientId ?? null,
      now,
      payloadJson(this.#packed(id, payload)),
      expiresAt,
      (this.#kind === 'Interaction' ? loggedInTo(payload) : payload.accountId) ?? null,
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

  /** Device codes have a store of their own (device_code_store.ts). */
  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /**
   * Of any number of requests at once, one finds the row unconsumed. The others have presented something that was
   * used already: they get nothing, and their family ends.
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
        if (loggedIn) await holdAccount(tx, loggedIn.accountId);
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

  /** Whatever the kind: the grant row goes, and everything under it with it. */
  async revokeByGrantId(grantId: string): Promise<void> {
    await writeWithRequest(this.#settings.database, (tx) => endGrant(tx, grantId));
  }

  /** What is missing is asked for again, and is not found then either. */
  async #findWithRelated(id: string): Promise<TokenRow | undefined> {
    const row = await readTokenRow(this.#settings.database, this.#kind, sha256(id));
    if (row) prefetch(row);
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
    this.#settings.unanswered.demandSettled(consumedAt);
    const graceBegan = this.#graceBegan(this.#settings.clock());
    const graceful = graceBegan && consumedAt > graceBegan && Provider.ctx?.oidc.route === 'token';
    return graceful ? {} : { consumed: epochSeconds(consumedAt) };
  }

  /** `undefined` where there is no grace: then no clock has a say, for the one that wrote the time may be ahead of ours. */
  #graceBegan(now: Date): Date | undefined {
    const { refreshGraceSeconds } = this.#settings;
    if (this.#kind !== 'RefreshToken' || refreshGraceSeconds === 0) return undefined;
    return this.#settings.unanswered.before(now, refreshGraceSeconds);
  }

  async #refuseUsed(tx: Tx, artifactId: Digest): Promise<never> {
    if (this.#kind === 'PushedAuthorizationRequest') {
      throw new LostRace(new errors.InvalidRequestUri('request_uri was used already'), 'request_uri.reused');
    }
    const row = await tx
      .selectFrom('artifacts')
      .select('payload')
      .where('kind', '=', this.#kind)
      .where('artifact_id', '=', artifactId)
      .executeTakeFirst();
    const refusal = new errors.InvalidGrant(`${this.#kind} was used already`);
    const event = this.#kind === 'RefreshToken' ? 'refresh_token.reused' : 'code.reused';
    throw new LostRace(refusal, event, (row?.payload as { grantId?: string } | undefined)?.grantId);
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

/**
 * A change of the account, such as a new password, waits for this login and ends it; or this login waits for the change
 * and then finds its interaction gone. The account is held before the interaction, as in that change.
 */
async function holdAccount(tx: Tx, accountId: string): Promise<void> {
  await tx.selectFrom('accounts').select('account_id').where('account_id', '=', accountId).forShare().execute();
}

/** For as long as the interaction may end in an answer, the row must be there to say that there was one already. */
async function keepPushedRequest(tx: Tx, id: string, until: Date): Promise<void> {
  await tx
    .updateTable('artifacts')
    .set({ expires_at: sql<Date>`greatest(expires_at, ${until}::timestamptz)` })
    .where('kind', '=', 'PushedAuthorizationRequest')
    .where('artifact_id', '=', sha256(id))
    .execute();
}

const FOREIGN_KEY_VIOLATION = '23503';

/** A token or code whose grant, client or account went away while it was being stored. */
export async function refuseWithoutGrant<T>(saving: Promise<T>): Promise<T> {
  try {
    return await saving;
  } catch (error) {
    throw withoutGrant(error);
  }
}

function withoutGrant(error: unknown): unknown {
  const gone = (error as { code?: unknown }).code === FOREIGN_KEY_VIOLATION;
  return gone ? new errors.InvalidGrant('the grant is gone') : error;
}

/** From the id itself, of which only another digest is stored. */
function keyFrom(kind: string, id: string): Buffer {
  return createHash('sha256').update(`gatehouse ${kind.toLowerCase()} ${id}`).digest();
}
