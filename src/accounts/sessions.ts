/** Lists and ends the sessions and grants of an account, for its owner or an admin. */
import { sql } from 'kysely';
import { addSeconds } from '../base/clock.ts';
import { sha256, type Digest } from '../base/secret.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader } from '../db/connection.ts';
import type { ConsentedScopes } from './consents.ts';
import { claimOfEntry } from './data_for_apis.ts';
import { announceLogouts } from './logouts.ts';

export interface SessionView {
  /** Identifies the session; it is not the cookie value. */
  readonly sessionId: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly clients: readonly string[];
  /** The browser; `null` for a session that an earlier version stored. */
  readonly device: SessionDevice | null;
}

export interface SessionDevice {
  readonly userAgent: string;
  readonly address: string;
  /** The last use, exact to about an hour. */
  readonly usedAt: Date;
}

export interface GrantView {
  /** The digest of the grant's id, the same as in the `gid` claim of its tokens. */
  readonly grantId: string;
  readonly clientId: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly scopes: readonly string[];
  /** The same scopes, grouped by their origin. */
  readonly granted: ConsentedScopes;
}

/** A page of a list that is ordered newest first. */
export interface NewestFirst {
  readonly limit: number;
  /** The last item of the previous page. */
  readonly after?: { readonly createdAt: Date; readonly id: string } | undefined;
}

/**
 * Returns all sessions of an account, newest first, or one page of them. `absoluteSeconds` is the maximum age of a
 * session, counted from its login.
 */
export async function listSessions(
  reader: Reader,
  accountId: string,
  { now, absoluteSeconds }: { readonly now: Date; readonly absoluteSeconds: number },
  page?: NewestFirst,
): Promise<SessionView[]> {
  let query = reader
    .selectFrom('artifacts')
    .select(['uid', 'created_at'])
    .select(sql<Date>`least(expires_at, created_at + make_interval(secs => ${absoluteSeconds}::int))`.as('expires_at'))
    .select(sql<string[]>`array(select jsonb_object_keys(coalesce(payload->'authorizations', '{}')))`.as('clients'))
    .select(sql<StoredDevice | null>`payload->'device'`.as('device'))
    .where('account_id', '=', accountId)
    .where('kind', '=', 'Session')
    .where('uid', 'is not', null)
    .where('expires_at', '>', now)
    .where('created_at', '>', addSeconds(now, -absoluteSeconds))
    .orderBy('created_at', 'desc')
    .orderBy('uid', 'desc');
  if (page) query = query.limit(page.limit);
  const { after } = page ?? {};
  if (after) {
    query = query.where((row) => row(row.refTuple('created_at', 'uid'), '<', row.tuple(after.createdAt, after.id)));
  }
  const rows = await query.execute();
  return rows.map((row) => ({
    sessionId: row.uid!,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    clients: row.clients,
    device: row.device && deviceOf(row.device),
  }));
}

interface StoredDevice {
  readonly user_agent: string;
  readonly address: string;
  readonly used_at: number;
}

function deviceOf({ user_agent, address, used_at }: StoredDevice): SessionDevice {
  return { userAgent: user_agent, address, usedAt: new Date(used_at * 1000) };
}

/**
 * Ends one session: its cookie becomes invalid, grants that are tied to it are deleted, and clients with a logout URI
 * are informed. Returns whether the session existed.
 */
export async function endSession(
  { tx, trail, origin, now }: UnitOfWork,
  accountId: string,
  sessionId: string,
): Promise<boolean> {
  const ended = await tx
    .deleteFrom('artifacts')
    .where('kind', '=', 'Session')
    .where('account_id', '=', accountId)
    .where('uid', '=', sessionId)
    .returning('payload')
    .executeTakeFirst();
  if (!ended) return false;
  const grants = grantsOf(ended.payload);
  if (grants.length > 0) await tx.deleteFrom('grants').where('grant_id', 'in', grants).execute();
  await announceLogouts(tx, [{ accountId, payload: ended.payload }], now);
  await trail.recordIn(tx, origin, {
    event: 'session.ended',
    outcome: 'success',
    accountId,
    details: { session_id: sessionId },
  });
  return true;
}

/**
 * Ends all sessions of an account like `endSession`, and also logins that have not returned to the application yet.
 * Returns the number of sessions.
 */
export function endAllSessions(work: UnitOfWork, accountId: string): Promise<number> {
  return endSessions(work, accountId);
}

/** Ends all sessions of an account but one, like `endAllSessions`. */
export function endOtherSessions(work: UnitOfWork, accountId: string, keptSessionId: string): Promise<number> {
  return endSessions(work, accountId, keptSessionId);
}

async function endSessions(
  { tx, trail, origin, now }: UnitOfWork,
  accountId: string,
  keptSessionId?: string,
): Promise<number> {
  let doomed = tx
    .deleteFrom('artifacts')
    .where('account_id', '=', accountId)
    .where('kind', 'in', ['Session', 'Interaction'])
    .returning(['kind', 'uid', 'payload']);
  if (keptSessionId !== undefined) {
    doomed = doomed.where(({ or, eb }) =>
      or([eb('kind', '<>', 'Session'), eb('uid', 'is distinct from', keptSessionId)]),
    );
  }
  const ended = await doomed.execute();
  const sessions = ended.filter(({ kind }) => kind === 'Session');
  const grants = sessions.flatMap(({ payload }) => grantsOf(payload));
  if (grants.length > 0) await tx.deleteFrom('grants').where('grant_id', 'in', grants).execute();
  await announceLogouts(
    tx,
    sessions.map(({ payload }) => ({ accountId, payload })),
    now,
  );
  const events = sessions.map(({ uid }) => ({
    origin,
    event: { event: 'session.ended', outcome: 'success', accountId, details: { session_id: uid!, all: true } } as const,
  }));
  await trail.recordAllIn(tx, events);
  return sessions.length;
}

/** Returns all grants of an account, newest first, or one page of them. */
export async function listGrants(
  reader: Reader,
  accountId: string,
  now: Date,
  page?: NewestFirst,
): Promise<GrantView[]> {
  let query = reader
    .selectFrom('grants')
    .select(['grant_id', 'client_id', 'created_at', 'expires_at', 'payload'])
    .where('account_id', '=', accountId)
    .where('expires_at', '>', now)
    .orderBy('created_at', 'desc')
    .orderBy('grant_id', 'desc');
  if (page) query = query.limit(page.limit);
  const { after } = page ?? {};
  if (after) {
    const last = Buffer.from(after.id, 'base64url');
    query = query.where((row) => row(row.refTuple('created_at', 'grant_id'), '<', row.tuple(after.createdAt, last)));
  }
  const rows = await query.execute();
  return rows.map((row) => ({
    grantId: row.grant_id.toString('base64url'),
    clientId: row.client_id,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    scopes: scopesOf(row.payload),
    granted: grantedOf(row.payload),
  }));
}

/** Ends one grant and all its tokens. Returns whether it existed. */
export async function endGrant(
  { tx, trail, origin }: UnitOfWork,
  accountId: string,
  grantId: string,
): Promise<boolean> {
  const ended = await tx
    .deleteFrom('grants')
    .where('account_id', '=', accountId)
    .where('grant_id', '=', Buffer.from(grantId, 'base64url') as Digest)
    .returning('client_id')
    .executeTakeFirst();
  if (!ended) return false;
  await trail.recordIn(tx, origin, {
    event: 'grant.revoked',
    outcome: 'success',
    accountId,
    clientId: ended.client_id,
    details: { grant_id: grantId },
  });
  return true;
}

/**
 * Returns the grants that are tied to the session. oidc-provider stores one grant per client in it, and which of them
 * outlive a logout.
 */
function grantsOf(
  payload: { authorizations?: Record<string, { grantId?: string; persistsLogout?: boolean }> } & object,
): Digest[] {
  return Object.values(payload.authorizations ?? {}).flatMap(({ grantId, persistsLogout }) =>
    grantId && !persistsLogout ? [sha256(grantId)] : [],
  );
}

/** A grant as oidc-provider stores it, with scopes as strings. */
interface GrantPayload {
  readonly openid?: { readonly scope?: string; readonly claims?: readonly string[] };
  readonly resources?: Readonly<Record<string, string>>;
}

function scopesOf({ openid, resources }: GrantPayload & object): string[] {
  const scopes = [openid?.scope, ...Object.values(resources ?? {})].flatMap(split);
  return [...new Set(scopes.filter((scope) => claimOfEntry(scope) === undefined))];
}

function grantedOf({ openid, resources = {} }: GrantPayload & object): ConsentedScopes {
  const byResource = Object.entries(resources).map(([resource, scope]) => [resource, split(scope)] as const);
  return { openid: split(openid?.scope), claims: openid?.claims ?? [], resources: Object.fromEntries(byResource) };
}

function split(scope: string | undefined): string[] {
  return scope?.split(' ').filter(Boolean) ?? [];
}
