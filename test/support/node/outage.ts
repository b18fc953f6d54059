/** A Gatehouse in a process of its own, whose database can be taken away, those who ask it for things, and what must be true of the answers. */
import assert from 'node:assert/strict';
import { decodeJwt } from 'jose';
import { authorizationRequest } from '../client/authorization_request.ts';
import { registerApplication, REDIRECT_URI, signIn } from '../client/code_flow.ts';
import { Cluster, Way } from './unreachable_database.ts';
import { registerDevice } from '../person/device_flow.ts';
import { registerTill } from '../client/backchannel.ts';
import { postForm, requestToken, type Gatehouse } from './gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from './operator.ts';
import { startNode } from './pair.ts';
import { Person } from '../person/person.ts';

/** An answer, and how long it took. */
export interface Timed {
  readonly what: string;
  readonly response: Response;
  readonly text: string;
  readonly milliseconds: number;
}

const TOO_WIDE = 'a token for too wide a scope';

/** Far more than the second that is promised: this machine may be busy with something else. */
const SECOND_ON_A_BUSY_MACHINE = 4_500;

export class Outage {
  readonly cluster: Cluster;
  readonly way: Way;
  readonly gatehouse: Gatehouse;
  readonly clients: Clients;
  /** The jti of every token that was given. */
  readonly given: string[] = [];
  #stopped: Promise<void> | undefined;

  private constructor(cluster: Cluster, way: Way, gatehouse: Gatehouse, clients: Clients) {
    this.cluster = cluster;
    this.way = way;
    this.gatehouse = gatehouse;
    this.clients = clients;
  }

  /** With a PostgreSQL of its own, which `stopAll` stops. */
  static async start(): Promise<Outage> {
    const cluster = await Cluster.start();
    try {
      return await Outage.prepare(cluster);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  static async prepare(cluster: Cluster, environment: Readonly<Record<string, string>> = {}): Promise<Outage> {
    const way = await Way.to(cluster);
    let gatehouse: Gatehouse | undefined;
    try {
      gatehouse = await startNode(
        { databaseUrl: way.url(cluster), directUrl: cluster.url },
        {
          // requests come from one address, in the time of many
          GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
          GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
          GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000',
          GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
          GATEHOUSE_ANSWER_MILLISECONDS: '5000',
          GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '1000',
          ...environment,
        },
      );
      const outage = new Outage(cluster, way, gatehouse, await prepareClients(gatehouse));
      await outage.token();
      return outage;
    } catch (error) {
      await gatehouse?.stop();
      way.close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.stopNode();
    this.way.close();
  }

  async stopAll(): Promise<void> {
    await this.stop();
    await this.cluster.stop();
  }

  /** Once, however often it is asked for. */
  stopNode(): Promise<void> {
    this.#stopped ??= this.gatehouse.stop();
    return this.#stopped;
  }

  /** What the known client, or another, gets when it asks for a token. */
  async ask(client: RegisteredClient = this.clients.known): Promise<Timed> {
    const form = { grant_type: 'client_credentials' };
    const timed = await time('a token', () => postForm(`${this.gatehouse.url}/token`, form, client));
    if (timed.response.status === 200) {
      const { access_token } = JSON.parse(timed.text) as { access_token: string };
      this.given.push(decodeJwt(access_token).jti!);
    }
    return timed;
  }

  async token(): Promise<Timed> {
    const timed = await this.ask();
    assert.equal(timed.response.status, 200, timed.text);
    return timed;
  }

  /** What needs the database, asked for before this node knows that it is away: served or withheld, and no later. */
  async somethingElse(newcomer: RegisteredClient): Promise<Timed> {
    const ask = requests(this.gatehouse, this.clients, newcomer)['the admin API, reading']!;
    const timed = await time('the admin API', ask);
    if (timed.response.status !== 200) isWithheld(timed);
    return timed;
  }

  /** A client that this node has never read. */
  newcomer(): Promise<RegisteredClient> {
    return registerClient(this.gatehouse);
  }

  /** Asks for all that can't be had without the database; answers with how long the slowest took. */
  async nothingHangs(newcomer: RegisteredClient): Promise<number> {
    const asked = Object.entries(requests(this.gatehouse, this.clients, newcomer));
    const answers = await Promise.all(asked.map(([what, ask]) => time(what, ask)));
    for (const answer of answers) {
      // from the sixth of its kind on a refusal is counted in memory, and needs no entry of its own
      if (answer.what === TOO_WIDE && answer.response.status === 400) continue;
      isWithheld(answer);
    }
    return Math.max(...answers.map(({ milliseconds }) => milliseconds));
  }

  /** What is public stays public, and probes and metrics say how things are. */
  async nothingIsHidden(): Promise<void> {
    for (const path of ['/jwks', '/.well-known/openid-configuration']) {
      const { response, text } = await time(path, () => fetch(this.gatehouse.url + path));
      assert.equal(response.status, 200, `${path}: ${text}`);
    }
    const { known, revoked, tokenOfRevoked } = this.clients;
    const told = await time('introspection', () =>
      postForm(`${this.gatehouse.url}/introspect`, { token: tokenOfRevoked }, known),
    );
    assert.deepEqual([told.response.status, told.text], [200, '{"active":false}'], revoked.client_id);
    assert.match((await this.check('database')) ?? '', /^200 away, serving known clients for \d+ s more$/);
    assert.ok((await this.gauge('gatehouse_database_breaker')) > 0);
    assert.ok((await this.gauge('gatehouse_outage_seconds_left')) > 0);
  }

  async check(name: string): Promise<string | undefined> {
    const response = await fetch(`${this.gatehouse.managementUrl}/readyz`);
    const { checks } = (await response.json()) as { checks: Record<string, string> };
    return `${response.status} ${checks[name]}`;
  }

  async gauge(name: string): Promise<number> {
    const text = await (await fetch(`${this.gatehouse.managementUrl}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  }

  async isBack(): Promise<void> {
    await eventually(async () => (await this.check('database')) === '200 ok', 15_000);
    await eventually(async () => (await this.gauge('gatehouse_audit_entries_held')) === 0, 15_000);
  }

  /** Every token that was given is on record, once. */
  async everyTokenIsOnRecord(): Promise<void> {
    await this.isBack();
    const rows = await this.gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'token.issued')
      .where('client_id', '=', this.clients.known.client_id)
      .execute();
    const recorded = rows.map(({ details }) => (details as { jti: string }).jti);
    assert.deepEqual(recorded.toSorted(), this.given.toSorted());
  }
}

export function isWithheld({ what, response, text, milliseconds }: Timed): void {
  assert.equal(response.status, 503, `${what}: ${response.status} ${text.replaceAll(/\s+/g, ' ').slice(-600)}`);
  assert.ok(Number(response.headers.get('retry-after')) >= 1, `${what}: no Retry-After`);
  assert.equal(response.headers.get('location'), null, what);
  assert.ok(milliseconds < SECOND_ON_A_BUSY_MACHINE, `${what}: ${Math.round(milliseconds)} ms`);
}

export async function time(what: string, ask: () => Promise<Response>): Promise<Timed> {
  const began = performance.now();
  const response = await ask();
  const text = await response.text();
  return { what, response, text, milliseconds: performance.now() - began };
}

interface Clients {
  readonly known: RegisteredClient;
  readonly revoked: RegisteredClient;
  readonly tokenOfRevoked: string;
  readonly application: RegisteredClient;
  readonly device: RegisteredClient;
  readonly till: RegisteredClient;
  readonly person: Person;
  /** A person who has come to the login page. */
  readonly visitor: Person;
  readonly loginPage: string;
  readonly refreshToken: string;
  readonly opaqueToken: string;
  readonly adminToken: string;
}

async function prepareClients(gatehouse: Gatehouse): Promise<Clients> {
  const [known, revoked, application, device, till] = [
    await registerClient(gatehouse, { introspects: [gatehouse.demo.resource] }),
    await registerClient(gatehouse),
    await registerApplication(gatehouse),
    await registerDevice(gatehouse),
    await registerTill(gatehouse),
  ];
  const tokenOfRevoked = await requestToken(gatehouse.url, revoked);
  const done = await gatehouse.adminCall('POST', `/clients/${revoked.client_id}/revoke`, { reason: 'left' });
  assert.ok(done.ok, await done.text());
  // from here on this node knows by heart that it is revoked
  await postForm(`${gatehouse.url}/introspect`, { token: tokenOfRevoked }, known);
  const person = new Person(gatehouse);
  const { tokens } = await signIn(gatehouse, application, { scope: 'openid offline_access', person });
  const visitor = new Person(gatehouse);
  const { headers } = await visitor.fetch(authorizeUrl(gatehouse, application), HTML);
  const loginPage = new URL(headers.get('location')!, gatehouse.url).href;
  const adminToken = await gatehouse.adminToken();
  return {
    known,
    revoked,
    tokenOfRevoked,
    application,
    device,
    till,
    person,
    visitor,
    loginPage,
    refreshToken: tokens.refresh_token!,
    opaqueToken: tokens.access_token,
    adminToken,
  };
}

const HTML = { headers: { accept: 'text/html' } };

function authorizeUrl({ url }: Gatehouse, client: RegisteredClient): string {
  return `${url}/authorize?${authorizationRequest(client)}`;
}

/** One of each kind. */
export function requests(
  gatehouse: Gatehouse,
  clients: Clients,
  newcomer: RegisteredClient,
): Readonly<Record<string, () => Promise<Response>>> {
  const { url } = gatehouse;
  const { application, device, till, known, revoked, person, visitor, loginPage, adminToken } = clients;
  const post = (path: string, form: Record<string, string>, client?: RegisteredClient) => () =>
    postForm(url + path, form, client);
  const authorization = { authorization: `Bearer ${adminToken}` };
  const cc = { grant_type: 'client_credentials' };
  return {
    'a token for a client that is not known here': post('/token', cc, newcomer),
    'a token for a revoked client': post('/token', cc, revoked),
    'a token for a wrong secret': post('/token', cc, { ...known, client_secret: 'wrong' }),
    [TOO_WIDE]: post('/token', { ...cc, scope: 'everything' }, known),
    'the code grant': post(
      '/token',
      { grant_type: 'authorization_code', code: 'x', redirect_uri: REDIRECT_URI, code_verifier: 'x'.repeat(43) },
      application,
    ),
    'a refresh': post('/token', { grant_type: 'refresh_token', refresh_token: clients.refreshToken }, application),
    'introspection of an opaque token': post('/introspect', { token: clients.opaqueToken }, application),
    revocation: post('/revoke', { token: clients.refreshToken }, application),
    userinfo: () => fetch(`${url}/userinfo`, { headers: { authorization: `Bearer ${clients.opaqueToken}` } }),
    'the authorization endpoint': () => fetch(authorizeUrl(gatehouse, application), { ...HTML, redirect: 'manual' }),
    'the authorization endpoint, logged in': () => person.fetch(authorizeUrl(gatehouse, application), HTML),
    'a pushed request': post('/par', Object.fromEntries(authorizationRequest(application)), application),
    'the login page': () => visitor.fetch(loginPage, HTML),
    'the account page': () => person.fetch(`${url}/account`, HTML),
    logout: () => person.fetch(`${url}/logout`, HTML),
    'a device': post('/device_authorization', { client_id: device.client_id, scope: 'openid' }),
    'the device page': () => person.fetch(`${url}/device?user_code=BCDFG-HJKLM`, HTML),
    'a backchannel request': post(
      '/backchannel_authentication',
      { scope: 'openid', login_hint: gatehouse.account.email },
      till,
    ),
    'the admin API, reading': () => fetch(`${url}/admin/v1/clients`, { headers: authorization }),
    'the admin API, writing': () =>
      fetch(`${url}/admin/v1/clients`, {
        method: 'POST',
        headers: { ...authorization, 'content-type': 'application/json' },
        body: '{"client_name":"x"}',
      }),
    registration: () =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: { authorization: 'Bearer nobody', 'content-type': 'application/json' },
        body: '{"redirect_uris":["https://app.example.com/"]}',
      }),
  };
}
