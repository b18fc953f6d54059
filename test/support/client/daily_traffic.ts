/** A day of a server's traffic: all kinds of requests, careless and hostile ones too, of the same few clients. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { ask, poll as pollRequest, registerTill } from './backchannel.ts';
import { moveClock } from '../node/clock.ts';
import { registerApplication, registerPublicApplication, requestCode, signIn } from './code_flow.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../person/device_flow.ts';
import { makeProofKey, prove, type ProofKey } from './dpop.ts';
import { postForm, requestToken, type OwnGatehouse } from '../node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../node/operator.ts';
import { Person } from '../person/person.ts';
import { makePolicy, register } from './registration.ts';

/** What a day comes in: what is made in one of them expires in another. */
const PARTS = 2;
/** Where rows come and go. */
const WITH_COMINGS_AND_GOINGS = [
  'artifacts',
  'attempt_counters',
  'audit_links',
  'backchannel_requests',
  'changes',
  'client_registrations',
  'client_resources',
  'client_secrets',
  'clients',
  'data_keys',
  'device_codes',
  'failed_attempts',
  'grants',
  'idempotency_keys',
  'known_logins',
  'revoked_tokens',
  'signing_keys',
  'used_once',
];
const PART_SECONDS = 86_400 / PARTS;

/** How much of it a part of a day has. */
export interface Traffic {
  readonly tokens: number;
  readonly logins: number;
  /** Of everything else. */
  readonly others: number;
}

export interface Size {
  /** Bytes with indexes, of each table but those of the trail, and without the dictionary of letters. */
  readonly tables: ReadonlyMap<string, number>;
  /** The index that finds clients by parts of their names: of three letters in a row it knows all that it ever saw. */
  readonly dictionary: number;
  readonly trail: number;
}

export class Days {
  readonly #gatehouse: OwnGatehouse;
  readonly #traffic: Traffic;
  readonly #clients: Clients;
  readonly #key: ProofKey;

  private constructor(gatehouse: OwnGatehouse, traffic: Traffic, clients: Clients, key: ProofKey) {
    this.#gatehouse = gatehouse;
    this.#traffic = traffic;
    this.#clients = clients;
    this.#key = key;
  }

  static async begin(gatehouse: OwnGatehouse, traffic: Traffic): Promise<Days> {
    await makePolicy(gatehouse, { name: 'brief', unused_client_ttl_seconds: 3_600, open_registration: true });
    return new Days(gatehouse, traffic, await registerAll(gatehouse), await makeProofKey());
  }

  /** One day's traffic; after each part the node's own jobs run, and what autovacuum does when it finds work. */
  async pass(): Promise<Size> {
    for (let part = 0; part < PARTS; part++) {
      await this.#part();
      moveClock(PART_SECONDS);
      await this.#gatehouse.runJobs();
      await sql`vacuum ${sql.join(WITH_COMINGS_AND_GOINGS.map((name) => sql.table(name)))}`.execute(
        this.#gatehouse.database,
      );
    }
    return this.#size();
  }

  async #part(): Promise<void> {
    const { tokens, logins, others } = this.#traffic;
    for (let i = 0; i < tokens; i++) await requestToken(this.#gatehouse.url, this.#clients.machine);
    await Promise.all(Array.from({ length: logins }, () => this.#logIn()));
    for (let i = 0; i < others; i++) {
      await Promise.all([
        this.#devices(),
        this.#proved(),
        this.#pushed(),
        this.#hostile(),
        this.#asked(),
        this.#administered(),
        this.#abandoned(),
      ]);
    }
  }

  /** A new browser each time: a session, a grant, a code, a family of refresh tokens; every second one logs out. */
  async #logIn(): Promise<void> {
    const { application, publicApplication } = this.#clients;
    const parameters = { prompt: 'consent' };
    const { tokens, person } = await signIn(this.#gatehouse, application, {
      scope: 'openid offline_access',
      parameters,
    });
    let token = tokens.refresh_token!;
    for (let turn = 0; turn < 3; turn++) token = await this.#refresh(token);
    await signIn(this.#gatehouse, publicApplication, { person });
    if (Math.random() < 0.5) return;
    await postForm(`${this.#gatehouse.url}/revoke`, { token }, application);
    await person.open(`${this.#gatehouse.url}/logout?id_token_hint=${tokens.id_token}`);
  }

  async #refresh(refresh_token: string): Promise<string> {
    const form = { grant_type: 'refresh_token', refresh_token };
    const response = await postForm(`${this.#gatehouse.url}/token`, form, this.#clients.application);
    const body = (await response.json()) as { refresh_token?: string };
    if (!body.refresh_token) throw new Error(`Not refreshed: ${response.status} ${JSON.stringify(body)}`);
    return body.refresh_token;
  }

  async #devices(): Promise<void> {
    const { device } = this.#clients;
    const { user_code, device_code } = await requestDevice(this.#gatehouse, device);
    await connectDevice(this.#gatehouse, user_code);
    await poll(this.#gatehouse, device, device_code);
    await requestDevice(this.#gatehouse, device);
  }

  /** A token that is bound to a key, and a token that is revoked. */
  async #proved(): Promise<void> {
    const { url } = this.#gatehouse;
    const { machine } = this.#clients;
    const proof = await prove(this.#key, ['POST', `${url}/token`]);
    await postForm(`${url}/token`, { grant_type: 'client_credentials' }, machine, { dpop: proof });
    const token = await requestToken(url, machine);
    await postForm(`${url}/introspect`, { token }, machine);
    await postForm(`${url}/revoke`, { token }, machine);
  }

  async #pushed(): Promise<void> {
    const request = { response_type: 'code', redirect_uri: 'https://app.example.com/callback', scope: 'openid' };
    await postForm(`${this.#gatehouse.url}/par`, { ...request, ...CHALLENGE }, this.#clients.application);
  }

  /** Guesses, at names that there are and at names that there are not. */
  async #hostile(): Promise<void> {
    const { url } = this.#gatehouse;
    const { client_id } = this.#clients.machine;
    const form = { grant_type: 'client_credentials' };
    await postForm(`${url}/token`, form, { client_id, client_secret: 'wrong' });
    await postForm(`${url}/token`, form, { client_id: randomUUID(), client_secret: 'wrong' });
    await postForm(`${url}/token`, { grant_type: 'refresh_token', refresh_token: randomUUID() });
    const account = { email: `${randomUUID()}@example.com`, password: 'wrong' };
    const stranger = new Person({ issuer: this.#gatehouse.issuer, account });
    await requestCode(this.#gatehouse, this.#clients.application, { person: stranger }).catch(() => {});
  }

  async #asked(): Promise<void> {
    const asked = await ask(this.#gatehouse, this.#clients.till);
    await pollRequest(this.#gatehouse, this.#clients.till, asked);
  }

  /** A client that registers itself and is never seen again, a secret that is rotated, a request that is sent twice. */
  async #administered(): Promise<void> {
    await register(this.#gatehouse);
    const path = `/clients/${this.#clients.rotating.client_id}/secrets`;
    const key = { 'idempotency-key': randomUUID() };
    for (let turn = 0; turn < 2; turn++) {
      const response = await this.#gatehouse.adminCall('POST', path, { overlap_seconds: 0 }, key);
      if (response.status !== 201) throw new Error(`Not rotated: ${await response.text()}`);
    }
  }

  /** Pages that a person opened and left. */
  async #abandoned(): Promise<void> {
    const request = { response_type: 'code', redirect_uri: 'https://app.example.com/callback', scope: 'openid' };
    const { client_id } = this.#clients.application;
    const query = new URLSearchParams({ client_id, ...request, ...CHALLENGE });
    for (let i = 0; i < 3; i++) await new Person(this.#gatehouse).open(`${this.#gatehouse.url}/authorize?${query}`);
  }

  async #size(): Promise<Size> {
    const { rows } = await sql<{
      name: string;
      bytes: number;
    }>`select relname as name, pg_total_relation_size(oid)
        - case relname when 'clients' then coalesce(pg_relation_size(to_regclass('clients_by_text')), 0) else 0 end as bytes
      from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`.execute(this.#gatehouse.database);
    const { rows: indexes } = await sql<{ bytes: number }>`select
      coalesce(pg_relation_size(to_regclass('clients_by_text')), 0) as bytes`.execute(this.#gatehouse.database);
    const isOfTrail = ({ name }: { name: string }): boolean => /^audit_(events|links|checkpoints)_/.test(name);
    return {
      tables: new Map(rows.filter((row) => !isOfTrail(row)).map(({ name, bytes }) => [name, bytes])),
      dictionary: indexes[0]!.bytes,
      trail: rows.filter(isOfTrail).reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }
}

const CHALLENGE = { code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' };

interface Clients {
  readonly machine: RegisteredClient;
  readonly application: RegisteredClient;
  readonly publicApplication: RegisteredClient;
  readonly device: RegisteredClient;
  readonly till: RegisteredClient;
  readonly rotating: RegisteredClient;
}

async function registerAll(gatehouse: OwnGatehouse): Promise<Clients> {
  return {
    machine: await registerClient(gatehouse, { introspects: [gatehouse.demo.resource] }),
    application: await registerApplication(gatehouse),
    publicApplication: await registerPublicApplication(gatehouse),
    device: await registerDevice(gatehouse),
    till: await registerTill(gatehouse),
    rotating: await registerClient(gatehouse),
  };
}
