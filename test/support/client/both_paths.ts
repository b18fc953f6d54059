/** Sends two equal token requests of one person, one on the fast path and one on the ordinary path, and compares what they leave. */
import assert from 'node:assert/strict';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { sha256 } from '../../../src/base/secret.ts';
import { basic, REDIRECT_URI, requestCode, type Callback, type SignIn } from './code_flow.ts';
import type { Gatehouse } from '../node/gatehouse.ts';
import type { RegisteredClient } from '../node/operator.ts';
import { Person } from '../person/person.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

export type Form = Readonly<Record<string, string>>;

export interface Compared {
  /** Whether the fast path answered the request that was sent to it. */
  readonly taken: boolean;
  readonly lean: Answer;
  readonly ordinary: Answer;
}

/** Of an ID token and the events about it nothing may differ but when they were made, and ids. */
const CHANGING = new Set(['date', 'x-request-id', 'dpop-nonce', 'content-length']);
/** Headers for pages and for scripts of other origins: clients on the fast path are neither. */
const FOR_BROWSERS = /^(?:access-control-|content-security-policy|permissions-policy|referrer-policy|x-frame-options)/;

export class BothPaths {
  readonly #gatehouse: Gatehouse;
  readonly #person: Person;

  constructor(gatehouse: Gatehouse) {
    this.#gatehouse = gatehouse;
    this.#person = new Person(gatehouse, { remember: true });
  }

  lean(form: Form, client: RegisteredClient): Promise<Answer> {
    return this.#send(form, client, '');
  }

  /** A query without a meaning keeps a request from the fast path. */
  ordinary(form: Form, client: RegisteredClient): Promise<Answer> {
    return this.#send(form, client, '?ordinary');
  }

  async leanAnswers(): Promise<number> {
    const metrics = await (await fetch(`${this.#gatehouse.managementUrl}/metrics`)).text();
    return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
  }

  /** Sends one of two like requests down each way, and compares all that they leave. */
  async compare(
    [forLean, forOrdinary]: readonly [Form, Form],
    client: RegisteredClient,
    what: string,
  ): Promise<Compared> {
    const earlier = await this.leanAnswers();
    const lean = await this.lean(forLean, client);
    const left = await this.#traces(forLean, lean);
    const taken = (await this.leanAnswers()) - earlier === 1;
    const ordinary = await this.ordinary(forOrdinary, client);
    assert.equal((await this.leanAnswers()) - earlier, taken ? 1 : 0, what);
    assert.deepEqual(left, await this.#traces(forOrdinary, ordinary), what);
    assert.equal(lean.status < 500, true, what);
    return { taken, lean, ordinary };
  }

  /** Two codes that differ in nothing, of one grant unless two people are told to log in. */
  async codes(
    client: RegisteredClient,
    how: SignIn = {},
    people: readonly Person[] = [this.#person, this.#person],
  ): Promise<[Form, Form]> {
    const code = async (whose: Person) =>
      ofCode(await requestCode(this.#gatehouse, client, { scope: 'openid notes:read', ...how, person: whose }));
    return [await code(people[0]!), await code(people[1]!)];
  }

  async refreshes(...how: Parameters<BothPaths['codes']>): Promise<[Form, Form]> {
    const [one, other] = await this.codes(...how);
    return [ofRefresh(await this.ordinary(one, how[0])), ofRefresh(await this.ordinary(other, how[0]))];
  }

  /** Two who have nothing in common but their account. */
  apart(): [Person, Person] {
    return [new Person(this.#gatehouse), new Person(this.#gatehouse)];
  }

  async #send(form: Form, { client_id, client_secret }: RegisteredClient, query: string): Promise<Answer> {
    const response = await fetch(`${this.#gatehouse.url}/token${query}`, {
      method: 'POST',
      headers: { authorization: basic(client_id, client_secret) },
      body: new URLSearchParams(form),
    });
    const kept = [...response.headers].filter(([name]) => !CHANGING.has(name) && !FOR_BROWSERS.test(name));
    const body = (await response.json()) as Answer['body'];
    return { status: response.status, headers: Object.fromEntries(kept), body };
  }

  /** Everything that can be seen of an answer and of what it has left behind. */
  async #traces(form: Form, { status, headers, body }: Answer) {
    const { access_token, id_token, refresh_token, ...members } = body;
    const kind = form['grant_type'] === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode';
    return {
      status,
      headers,
      members,
      order: Object.keys(body),
      accessToken: claims(access_token),
      idToken: claims(id_token),
      refreshToken: await this.#rowOf('RefreshToken', refresh_token),
      used: await this.#rowOf(kind, form['refresh_token'] ?? form['code']),
      events: await this.#lastEvents(),
    };
  }

  async #rowOf(kind: string, id: unknown) {
    if (typeof id !== 'string') return undefined;
    const row = await this.#gatehouse.database
      .selectFrom('artifacts')
      .selectAll()
      .where('kind', '=', kind)
      .where('artifact_id', '=', sha256(id))
      .executeTakeFirst();
    if (!row) return 'gone';
    const { artifact_id: _, grant_id, created_at, expires_at, consumed_at, payload, ...rest } = row;
    const { iat, exp, iiat, grantId, sid, sessionUid, nonce, authTime, codeChallenge: __, ...members } = payload;
    const told = Object.entries({ grantId, sid, sessionUid, nonce, authTime, iiat }).map(
      ([name, value]) => value && name,
    );
    // what is kept for a while after its use is not kept the longer the later that was
    const since = kind === 'RefreshToken' && consumed_at ? consumed_at : created_at;
    return {
      ...rest,
      members,
      told,
      consumed: consumed_at !== null,
      ofGrant: grant_id?.equals(sha256(String(grantId))),
      seconds: [Number(exp) - Number(iat), Math.round((expires_at.getTime() - since.getTime()) / 1000)],
    };
  }

  async #lastEvents() {
    const { request_id } = await this.#gatehouse.database
      .selectFrom('audit_events')
      .select('request_id')
      .where('client_id', 'is not', null)
      .where('event', '!=', 'authorization.granted')
      .orderBy('occurred_at', 'desc')
      .orderBy('sequence', 'desc')
      .limit(1)
      .executeTakeFirstOrThrow();
    const events = await this.#gatehouse.database
      .selectFrom('audit_events')
      .select(['event', 'outcome', 'actor_type', 'actor_id', 'client_id', 'account_id', 'address', 'details'])
      .where('request_id', '=', request_id)
      .orderBy('event')
      .execute();
    return events.map(({ details: { jti, expires_at, grant_id, ...details }, ...event }) => {
      const told = Object.entries({ jti, expires_at, grant_id }).map(([name, value]) => value && name);
      return { ...event, details, told };
    });
  }
}

function ofCode({ code, verifier }: Pick<Callback, 'code' | 'verifier'>): Form {
  return { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: verifier };
}

export function ofRefresh({ body }: Answer): Form {
  return { grant_type: 'refresh_token', refresh_token: String(body['refresh_token']) };
}

export function changed([one, other]: readonly [Form, Form], change: Form): [Form, Form] {
  return [
    { ...one, ...change },
    { ...other, ...change },
  ];
}

function claims(token: unknown) {
  if (typeof token !== 'string') return token;
  if (!token.includes('.')) return 'opaque';
  const { jti, iat, exp, gid, nonce, sid, auth_time, ...rest } = decodeJwt(token);
  const told = Object.entries({ jti, gid, nonce, sid, auth_time }).flatMap(([name, value]) => (value ? [name] : []));
  return { ...rest, told, ttl: exp! - iat!, header: decodeProtectedHeader(token) };
}
