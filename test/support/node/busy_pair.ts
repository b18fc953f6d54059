/** Two nodes at work, which may be killed or restarted, and clients that keep a record of all that they were told. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { redeem, REDIRECT_URI, registerApplication, requestCode } from '../client/code_flow.ts';
import { postForm, type Gatehouse } from './gatehouse.ts';
import { registerClient, type RegisteredClient } from './operator.ts';
import type { Pair } from './pair.ts';
import { Person } from '../person/person.ts';
import type { Random } from '../random.ts';

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

/** What was acknowledged, and may not be lost. */
class Ledger {
  /** The jti of every access token that was given. */
  readonly issued: string[] = [];
  readonly rotations: { readonly client: RegisteredClient; readonly secretId: string; readonly secret: string }[] = [];
  readonly revokedClients: { readonly client: RegisteredClient; readonly token: string }[] = [];
  readonly revokedTokens: string[] = [];
  readonly usedCodes: { readonly code: string; readonly verifier: string }[] = [];
  readonly usedRefreshTokens: string[] = [];
  /** The refresh tokens that were left unused, of each person's grant: it ends as one. */
  readonly living = new Map<Person, string[]>();
  readonly endedFamilies: string[] = [];
  /** Requests that broke off with their node, so that it is unknown whether they were carried out. */
  unknown = 0;
  /** Answers that say to retry, and were followed by a retry. */
  readonly withheld: string[] = [];
  /** What must not be. */
  readonly problems: string[] = [];
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, string>>;
  readonly node: Gatehouse;
}

type Request = (node: Gatehouse) => Promise<Response>;

const VERIFIER = 'a-verifier-that-is-long-enough-to-be-one-0123456789';
const CHALLENGE = 'IdFsue1MJJJtybEPX0invmHHuW1I7Ai5LXVlXpENjsk';
const ADMIN_TOKEN_MILLISECONDS = 60_000;

export class BusyPair {
  readonly pair: Pair;
  readonly ledger = new Ledger();
  readonly application: RegisteredClient;
  readonly #random: Random;
  readonly #people: readonly Person[];
  readonly #rotating: readonly RegisteredClient[];
  readonly #kills = new Map<Gatehouse, number>();
  readonly #down = new Set<Gatehouse>();
  /** Those that a load balancer passes over. */
  readonly #resting = new Set<Gatehouse>();
  #slowestMilliseconds = 0;
  readonly #answers = new Map<Gatehouse, number>();
  #adminToken: { readonly value: string; readonly madeAt: number } | undefined;
  #stopped = false;
  #work: Promise<unknown> = Promise.resolve();

  private constructor(
    pair: Pair,
    random: Random,
    prepared: Pick<BusyPair, 'application'> & { people: readonly Person[]; rotating: readonly RegisteredClient[] },
  ) {
    this.pair = pair;
    this.#random = random;
    this.application = prepared.application;
    this.#people = prepared.people;
    this.#rotating = prepared.rotating;
  }

  static async prepare(pair: Pair, random: Random): Promise<BusyPair> {
    const application = await registerApplication(pair.a);
    const people = [new Person(pair.a, { remember: true }), new Person(pair.a, { remember: true })];
    const parameters = { resource: pair.a.demo.resource };
    for (const person of people)
      await requestCode(pair.a, application, { scope: 'openid notes:read', parameters, person });
    const rotating = [await registerClient(pair.a), await registerClient(pair.a)];
    return new BusyPair(pair, random, { application, people, rotating });
  }

  begin(): void {
    const each = (work: () => Promise<void>) => async (): Promise<void> => {
      while (!this.#stopped) await work();
    };
    this.#work = Promise.all([
      each(() => this.#getToken())(),
      each(() => this.#getToken())(),
      each(() => this.#revokeToken())(),
      each(() => this.#revokeClient())(),
      ...this.#rotating.map((client) => each(() => this.#rotateSecret(client))()),
      ...this.#people.map((person) => each(() => this.#useApplication(person))()),
    ]);
  }

  /** Each finishes what it has begun. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
  }

  get slowestMilliseconds(): number {
    return this.#slowestMilliseconds;
  }

  /** From now on nothing more is asked of the node, as of one that says that it is not ready. */
  passOver(node: Gatehouse): void {
    this.#resting.add(node);
  }

  takeBack(node: Gatehouse): void {
    this.#resting.delete(node);
  }

  /** Kills a node, and answers how often the other one answered until it was back. */
  async kill(victim: Gatehouse): Promise<number> {
    const { pair } = this;
    const other = victim === pair.a ? pair.b : pair.a;
    this.#kills.set(victim, (this.#kills.get(victim) ?? 0) + 1);
    this.#down.add(victim);
    pair.kill(victim);
    const before = this.#answers.get(other) ?? 0;
    await pair.ended(victim);
    await pair.startAgain(victim);
    this.#down.delete(victim);
    return (this.#answers.get(other) ?? 0) - before;
  }

  /** `undefined`: the node went away, and it is unknown how far it came. */
  async #attempt(node: Gatehouse, request: Request): Promise<Answer | undefined> {
    const kills = this.#kills.get(node);
    const wasDown = this.#down.has(node);
    const began = performance.now();
    const stood = (): boolean => !wasDown && !this.#down.has(node) && this.#kills.get(node) === kills;
    try {
      const response = await request(node);
      const { status, headers } = response;
      const text = await response.text();
      this.#slowestMilliseconds = Math.max(this.#slowestMilliseconds, performance.now() - began);
      const failed = `${status} ${response.url} ${text}`;
      if (isWithheld({ status, headers })) this.ledger.withheld.push(failed);
      else if (status >= 500) this.ledger.problems.push(failed);
      this.#answers.set(node, (this.#answers.get(node) ?? 0) + 1);
      return { status, headers, node, body: (text.startsWith('{') ? JSON.parse(text) : {}) as Answer['body'] };
    } catch (error) {
      if (stood()) this.ledger.problems.push(`${node.url} stood, and broke off: ${describe(error)}`);
      this.ledger.unknown++;
      return undefined;
    }
  }

  /** Asks anew, of the other node, until there is an answer. */
  async #surely(request: Request): Promise<Answer & { readonly attempts: number }> {
    const nodes = [this.pair.a, this.pair.b];
    let node = this.#random.pick(nodes.filter((one) => !this.#resting.has(one)));
    for (let attempts = 1; ; attempts++) {
      const answer = await this.#attempt(node, request);
      if (answer && !isWithheld(answer)) return { ...answer, attempts };
      await delay(answer ? 200 : 5);
      const asked: Gatehouse = node;
      node = nodes.find((one) => one !== asked && !this.#resting.has(one)) ?? asked;
    }
  }

  #expect(what: string, { status, body }: Answer, wanted: number): boolean {
    if (status === wanted) return true;
    this.ledger.problems.push(`${what}: ${status} ${JSON.stringify(body)}`);
    return false;
  }

  async #tokenOf(client: RegisteredClient): Promise<string> {
    const answer = await this.#surely(({ url }) =>
      postForm(`${url}/token`, { grant_type: 'client_credentials' }, client),
    );
    if (!this.#expect('a token', answer, 200)) return '';
    this.ledger.issued.push(jtiOf(answer.body['access_token']!));
    return answer.body['access_token']!;
  }

  async #getToken(): Promise<void> {
    await this.#tokenOf(this.pair.a.demo);
  }

  async #revokeToken(): Promise<void> {
    const { demo } = this.pair.a;
    const token = await this.#tokenOf(demo);
    const answer = await this.#surely(({ url }) => postForm(`${url}/revoke`, { token }, demo));
    if (this.#expect('a revocation', answer, 200)) this.ledger.revokedTokens.push(token);
  }

  async #admin(method: string, path: string, body: object): Promise<Answer> {
    if (!this.#adminToken || performance.now() - this.#adminToken.madeAt > ADMIN_TOKEN_MILLISECONDS) {
      this.#adminToken = { value: await this.#tokenOf(this.pair.a.admin), madeAt: performance.now() };
    }
    const headers = {
      authorization: `Bearer ${this.#adminToken.value}`,
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
    };
    return this.#surely(({ url }) => fetch(`${url}/admin/v1${path}`, { method, headers, body: JSON.stringify(body) }));
  }

  async #revokeClient(): Promise<void> {
    const { resource, scope } = this.pair.a.demo;
    const made = await this.#admin('POST', '/clients', {
      grant_types: ['client_credentials'],
      resources: [{ resource, scopes: scope.split(' ') }],
    });
    if (!this.#expect('a new client', made, 201)) return;
    const client = made.body as unknown as RegisteredClient;
    const token = await this.#tokenOf(client);
    const answer = await this.#admin('POST', `/clients/${client.client_id}/revoke`, { reason: 'left' });
    if (this.#expect('a revocation of a client', answer, 200)) this.ledger.revokedClients.push({ client, token });
  }

  async #rotateSecret(client: RegisteredClient): Promise<void> {
    const answer = await this.#admin('POST', `/clients/${client.client_id}/secrets`, { overlap_seconds: 0 });
    if (!this.#expect('a rotation', answer, 201)) return;
    const { secret_id, client_secret } = answer.body;
    this.ledger.rotations.push({ client, secretId: secret_id!, secret: client_secret! });
    const form = { grant_type: 'client_credentials' };
    const renewed = { ...client, client_secret: client_secret! };
    const used = await this.#attempt(answer.node, ({ url }) => postForm(`${url}/token`, form, renewed));
    if (used && this.#expect('the new secret', used, 200)) {
      this.ledger.issued.push(jtiOf(used.body['access_token']!));
    }
  }

  /** A code, its redemption, and a few refreshes. */
  async #useApplication(person: Person): Promise<void> {
    const parameters = new URLSearchParams({
      client_id: this.application.client_id,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid notes:read',
      resource: this.pair.a.demo.resource,
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
    });
    const asked = await this.#surely(({ url }) => person.fetch(`${url}/authorize?${parameters}`));
    const code = new URL(asked.headers.get('location') ?? 'none:').searchParams.get('code');
    if (code === null) return void this.ledger.problems.push(`No code: ${asked.status}`);
    const redemption = { code, verifier: VERIFIER };
    const { living } = this.ledger;
    let tokens = await this.#once('a code', ({ url }) => redeem(url, this.application, redemption));
    if (!tokens) return void living.delete(person);
    this.ledger.usedCodes.push(redemption);
    for (let left = this.#random.between(1, 5); left > 0; left--) {
      const { refresh_token } = tokens;
      const form = { grant_type: 'refresh_token', refresh_token };
      const next = await this.#once('a refresh token', ({ url }) => postForm(`${url}/token`, form, this.application));
      if (!next) return void living.delete(person);
      this.ledger.usedRefreshTokens.push(refresh_token);
      tokens = next;
    }
    const token = tokens.refresh_token;
    if (this.#random.next() < 0.8) return void living.set(person, [...(living.get(person) ?? []), token]);
    living.delete(person);
    const ended = await this.#surely(({ url }) => postForm(`${url}/revoke`, { token }, this.application));
    if (this.#expect('a revocation', ended, 200)) this.ledger.endedFamilies.push(token);
  }

  /** What may be used once. When it was used already, it was by an attempt whose answer was lost: one with tokens there can't have been. */
  async #once(what: string, request: Request): Promise<Tokens | undefined> {
    const answer = await this.#surely(request);
    if (answer.attempts > 1 && answer.status === 400) return undefined;
    if (!this.#expect(what, answer, 200)) return undefined;
    this.ledger.issued.push(jtiOf(answer.body['access_token']!));
    return answer.body as unknown as Tokens;
  }
}

function isWithheld({ status, headers }: Pick<Answer, 'status' | 'headers'>): boolean {
  return status === 503 && headers.has('retry-after');
}

export function jtiOf(token: string): string {
  return decodeJwt(token).jti!;
}

function describe(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
