/**
 * Sessions in PostgreSQL. Several requests of one browser may save the same session at once, each with the state from
 * when that request began. So a request writes only what it has changed, and a session that has ended in between stays
 * ended.
 */
import { Provider, type Adapter, type AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { announceLogouts } from '../../accounts/logouts.ts';
import { addSeconds, epochSeconds, type Clock } from '../../base/clock.ts';
import { sha256 } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { PreparedStatement } from '../../db/prepared.ts';
import { payloadJson } from './payload_json.ts';
import { writeWithRequest } from '../request/request_writes.ts';
import { sessionOf } from '../provider/library_types.ts';
import { deviceOf } from './session_device.ts';
import { isYoungEnough, secondsFor } from './session_times.ts';

export interface SessionSettings {
  readonly database: Database;
  readonly clock: Clock;
  readonly roles: RoleDirectory;
  /** Reads sessions, and stores new ones. */
  readonly artifacts: Adapter;
  /** A session ends this long after its login, however often it is used. */
  readonly sessionAbsoluteTtlSeconds: number;
}

/** Changes no row if the session has ended or now belongs to another person. */
const CHANGE_SESSION = new PreparedStatement(
  'gatehouse_change_session',
  `update artifacts set artifact_id = coalesce($2, artifact_id), account_id = coalesce($3, account_id),
      created_at = coalesce($4, created_at), expires_at = $5,
      payload = (payload - $6::text[]) || $7::jsonb || jsonb_build_object('authorizations',
        (coalesce(case when payload->>'accountId' is not distinct from $11 then payload->'authorizations' end, '{}')
          - $8::text[]) || $9::jsonb)
    where kind = 'Session' and uid = $1 and ($10 or payload->>'accountId' is not distinct from $11)`,
);

type Members = Readonly<Record<string, unknown>>;

export class SessionStore implements Adapter {
  readonly #settings: SessionSettings;
  /** The session of each running request, as the request read it. */
  readonly #found = new WeakMap<object, AdapterPayload>();

  constructor(settings: SessionSettings) {
    this.#settings = settings;
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const payload = this.#unlessTooOld(await this.#settings.artifacts.find(id));
    // a copy, because the library modifies the payload
    if (payload && Provider.ctx) this.#found.set(Provider.ctx, structuredClone(payload));
    return payload;
  }

  async upsert(id: string, given: AdapterPayload, ttl: number): Promise<void> {
    const before = this.#before(given.uid);
    const now = this.#settings.clock();
    const expiresIn = await secondsFor(given, ttl, this.#settings, now);
    const payload = expiresIn === ttl ? given : { ...given, exp: epochSeconds(now) + expiresIn };
    const device = deviceOf(before, payload, now);
    if (!before) return this.#settings.artifacts.upsert(id, { ...payload, ...(device && { device }) }, expiresIn);
    // the id is a bearer value; the row has only its digest
    const members = changes(before, { ...payload, device, jti: undefined, authorizations: undefined });
    const clients = changes(before.authorizations ?? {}, payload.authorizations ?? {});
    // if two people log in at once in one browser, the later one takes over the session without the data of the other
    const login = 'accountId' in members.set;
    const changed = [
      before.uid,
      // changes the id only if this request gave the session a new one, so that another request's new id stays
      before.jti === id ? null : sha256(id),
      payload.accountId ?? null,
      // the session's start, as shown to its owner, is the login
      'loginTs' in members.set ? now : null,
      addSeconds(now, expiresIn),
      members.gone,
      payloadJson(members.set),
      clients.gone,
      payloadJson(clients.set),
      login,
      (login ? payload.accountId : before.accountId) ?? null,
    ];
    await writeWithRequest(this.#settings.database, (tx) => CHANGE_SESSION.sendIn(tx, ...changed), {
      evenIfRefused: true,
      takeBack: 'loginTs' in members.set ? undefined : (tx) => restoreId(tx, before, id),
    });
  }

  /**
   * The library destroys the old id before it saves the session under the new one; upsert changes the row's id in that
   * case, so it is kept.
   */
  async destroy(id: string): Promise<void> {
    const session = sessionOf(Provider.ctx?.oidc);
    if (session?.oldId === id) return;
    const uid = this.#before(session?.uid)?.uid ?? null;
    const now = this.#settings.clock();
    await writeWithRequest(this.#settings.database, async (tx) => {
      const ended = await tx
        .deleteFrom('artifacts')
        .where('kind', '=', 'Session')
        .where(({ or, eb }) => or([eb('artifact_id', '=', sha256(id)), eb('uid', '=', uid)]))
        .returning(['account_id as accountId', 'payload'])
        .execute();
      await announceLogouts(tx, ended, now);
    });
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return this.#unlessTooOld(await this.#settings.artifacts.findByUid(uid));
  }

  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  consume(): Promise<void> {
    throw new Error('A session can not be consumed.');
  }

  revokeByGrantId(): Promise<void> {
    throw new Error('A session does not belong to a grant.');
  }

  /**
   * Ignores a session that is older than the current limit; an earlier version or setting may have stored a longer
   * expiry.
   */
  #unlessTooOld(session: AdapterPayload | void): AdapterPayload | undefined {
    const { clock, sessionAbsoluteTtlSeconds } = this.#settings;
    return session && isYoungEnough(session, sessionAbsoluteTtlSeconds, clock()) ? session : undefined;
  }

  #before(uid: string | undefined): AdapterPayload | undefined {
    const found = Provider.ctx && this.#found.get(Provider.ctx);
    return found?.uid === uid ? found : undefined;
  }
}

/**
 * Restores the old id of a session if the request that gave it a new one was answered with 503, because the browser
 * still has the old cookie. A session that has just been logged in to is not restored: only the new cookie may find it.
 */
async function restoreId(tx: Tx, { uid, jti }: AdapterPayload, id: string): Promise<boolean> {
  if (jti === id) return false;
  const { numAffectedRows } = await sql`update artifacts set artifact_id = ${sha256(jti!)}
    where kind = 'Session' and uid = ${uid!} and artifact_id = ${sha256(id)}`.execute(tx);
  return numAffectedRows === 1n;
}

/** The members to set and to remove to get from `before` to `after`. */
function changes(before: Members, after: Members): { readonly set: Members; readonly gone: string[] } {
  const set = Object.entries(after).filter(
    ([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(before[name]),
  );
  const gone = Object.keys(before).filter((name) => after[name] === undefined && name !== 'authorizations');
  return { set: Object.fromEntries(set), gone };
}
