/**
 * Collects all effects of a request: the response, the rows of its grant, and its audit events, without random values.
 */
import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { sha256 } from '../../../src/base/secret.ts';
import type { Database } from '../../../src/db/connection.ts';
import type { RefreshTokenFamilies } from '../../../src/oidc/storage/refresh_token_families.ts';
import type { SentRequest } from './random_requests.ts';
import { chunks, type StoredToken } from './stored_tokens.ts';

/** Headers that differ from one response to the next. */
const CHANGING = new Set(['date', 'x-request-id', 'dpop-nonce', 'content-length']);
/** Headers for pages and for scripts of other origins, which the fast path does not serve. */
const FOR_BROWSERS = /^(?:access-control-|content-security-policy|permissions-policy|referrer-policy|x-frame-options)/;

export interface Answer {
  readonly requestId: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** The parsed JSON, or the text of a page. */
  readonly body: Readonly<Record<string, unknown>> | string;
}

const agent = new Agent({ keepAlive: true, maxSockets: 16 });

export async function send(url: string, { path, headers, body }: SentRequest, query: string): Promise<Answer> {
  const sending = request(`${url}${path}${query}`, { method: 'POST', headers, agent });
  sending.end(body);
  const [response] = (await once(sending, 'response')) as [IncomingMessage];
  const content = await text(response);
  const kept = Object.entries(response.headers).filter(([name]) => !CHANGING.has(name) && !FOR_BROWSERS.test(name));
  return {
    requestId: String(response.headers['x-request-id']),
    status: response.statusCode!,
    headers: Object.fromEntries(kept),
    body: content.startsWith('{') ? (JSON.parse(content) as Record<string, unknown>) : content,
  };
}

/** A response, and the code or token of its request. */
export interface Exchanged {
  readonly answer: Answer;
  readonly token?: StoredToken | undefined;
  /** The id of the JWT that the request introspected or revoked. */
  readonly jti?: string | undefined;
}

/** Returns the trace of each request, in the same order, with few queries. */
export async function tracesOf(
  database: Database,
  families: RefreshTokenFamilies,
  all: readonly Exchanged[],
): Promise<object[]> {
  const rows = await readRows(database, all);
  return all.map((exchanged) => traceOf(exchanged, rows, families));
}

type Rows = Awaited<ReturnType<typeof readRows>>;

async function readRows(database: Database, all: readonly Exchanged[]) {
  const requests = all.map(({ answer }) => answer.requestId);
  const grants = all.flatMap(({ token }) => (token ? [sha256(token.grantId)] : []));
  const jtis = all.flatMap(({ jti }) => jti ?? []);
  return {
    events: await grouped(
      requests,
      (ids) =>
        database.selectFrom('audit_events').selectAll().where('request_id', 'in', ids).orderBy('event').execute(),
      ({ request_id }) => request_id,
    ),
    artifacts: await grouped(
      grants,
      (ids) =>
        database
          .selectFrom('artifacts')
          .selectAll()
          .where('grant_id', 'in', ids)
          .orderBy('kind')
          .orderBy('consumed_at')
          .execute(),
      ({ grant_id }) => grant_id?.toString('base64url'),
    ),
    grants: await grouped(
      grants,
      (ids) => database.selectFrom('grants').selectAll().where('grant_id', 'in', ids).execute(),
      ({ grant_id }) => grant_id.toString('base64url'),
    ),
    revoked: await grouped(
      jtis,
      (ids) => database.selectFrom('revoked_tokens').selectAll().where('jti', 'in', ids).execute(),
      ({ jti }) => jti,
    ),
    changes: await grouped(
      jtis,
      (ids) => database.selectFrom('changes').selectAll().where('key', 'in', ids).execute(),
      ({ key }) => key,
    ),
  };
}

function traceOf({ answer, token, jti }: Exchanged, rows: Rows, families: RefreshTokenFamilies): object {
  const { requestId, body, ...rest } = answer;
  const grant = token && sha256(token.grantId).toString('base64url');
  const members = typeof body === 'string' ? {} : body;
  const names = new Map<unknown, string>([
    [grant, 'its grant'],
    [token?.grantId, 'its grant'],
    [token?.sessionUid, 'its session'],
    [jti, 'the token'],
    [payloadOf(members['access_token'])?.jti, 'the new token'],
  ]);
  const used = token && sha256(token.value);
  return named(
    {
      ...rest,
      body: typeof body !== 'string' ? shown(members, families) : body.replaceAll(requestId, 'its id'),
      order: Object.keys(members),
      events: rows.events(requestId).map(({ stream: _, sequence: __, request_id: ___, ...event }) => event),
      artifacts: rows
        .artifacts(grant)
        .map(({ artifact_id, grant_id: _, ...row }) => ({ ...row, isUsed: used?.equals(artifact_id) })),
      grants: rows.grants(grant).map(({ grant_id: _, ...row }) => row),
      revoked: rows.revoked(jti),
      changes: rows.changes(jti).map(({ topic, key, recorded_at }) => ({ topic, key, recorded_at })),
    },
    names,
  );
}

/** Replaces each token in the body with its contents. */
function shown(body: Readonly<Record<string, unknown>>, families: RefreshTokenFamilies): object {
  const all = Object.entries(body).map(([name, value]) => {
    if (typeof value !== 'string' || !name.endsWith('_token')) return [name, value];
    const payload = payloadOf(value);
    if (payload) return [name, { header: decodeProtectedHeader(value), payload, idLength: payload.jti?.length }];
    const family = families.read(value);
    const mark = family && { grantId: family.grantId.toString('base64url'), expiresAt: family.expiresAt };
    return [name, { length: value.length, mark }];
  });
  return Object.fromEntries(all) as object;
}

function payloadOf(token: unknown) {
  return typeof token === 'string' && token.split('.').length === 3 ? decodeJwt(token) : undefined;
}

/** Replaces the ids that each request has by itself with the names of their objects. */
function named(trace: object, names: ReadonlyMap<unknown, string>): object {
  return JSON.parse(
    JSON.stringify(trace),
    (_, its: unknown) => (typeof its === 'string' && names.get(its)) || its,
  ) as object;
}

/** Reads the rows for the keys, and groups them by one of their members. */
async function grouped<K, R>(
  keys: readonly K[],
  read: (keys: K[]) => Promise<readonly R[]>,
  keyOf: (row: R) => string | null | undefined,
): Promise<(key: string | undefined) => readonly R[]> {
  const found = new Map<unknown, R[]>();
  for (const some of chunks([...new Set(keys)])) {
    for (const row of await read(some)) found.set(keyOf(row), [...(found.get(keyOf(row)) ?? []), row]);
  }
  return (key) => found.get(key) ?? [];
}
