/** Clients of others as web applications in processes of their own, and a person who logs in to them. */
import assert from 'node:assert/strict';
import { decodeJwt } from 'jose';
import { startGatehouse, type Gatehouse } from '../node/gatehouse.ts';
import { bringSecret, eventually, registerClient } from '../node/operator.ts';
import { freeAddresses, Processes, type Environment, type Running } from '../node/process.ts';
import { Person } from '../person/person.ts';

export const SCOPE = 'openid profile email notes:read';

/** What an application says of each token that it got: one from the code, one from a refresh. */
export interface Got {
  readonly access_token: string;
  readonly scope: string;
  readonly id_token?: Readonly<Record<string, unknown>>;
  readonly userinfo: Readonly<Record<string, unknown>>;
}

export interface OutsideApplication {
  readonly origin: string;
  readonly running: Running;
}

interface ApplicationOptions {
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Added to, or instead of, what each application is told: the issuer, its origin, its id and secret, the scopes. */
  readonly environment?: Environment;
  /** The path of its redirect URI. */
  readonly callback?: string;
  /** A secret that the operator chose, in place of the one that the server made. */
  readonly secret?: string;
}

const REDIRECTS_AT_MOST = 10;

/** A Gatehouse with an API that uses ML-DSA, and the applications in front of it. */
export class OutsideClients {
  readonly gatehouse: Gatehouse;
  readonly #processes = new Processes();

  private constructor(gatehouse: Gatehouse) {
    this.gatehouse = gatehouse;
  }

  static async start(): Promise<OutsideClients> {
    const gatehouse = await startGatehouse();
    const { status } = await gatehouse.adminCall('POST', '/resources', {
      identifier: 'https://quantum.example.com',
      scopes: [{ name: 'files:read', description: 'Read files' }],
      signing_alg: 'ML-DSA-65',
    });
    assert.equal(status, 201);
    return new OutsideClients(gatehouse);
  }

  /** Registers the application with its callback, runs it, and waits until it answers. */
  async run(
    command: readonly string[] | ((environment: Environment) => readonly string[]),
    { metadata = {}, environment = {}, callback = '/callback', secret }: ApplicationOptions = {},
  ): Promise<OutsideApplication> {
    const origin = `http://127.0.0.1:${(await freeAddresses()).port}`;
    const client = await registerClient(this.gatehouse, {
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [origin + callback],
      ...metadata,
    });
    if (secret !== undefined) await bringSecret(this.gatehouse, client.client_id, secret);
    const its = {
      ISSUER: this.gatehouse.issuer,
      ORIGIN: origin,
      CLIENT_ID: client.client_id,
      CLIENT_SECRET: secret ?? client.client_secret,
      SCOPE,
      ...environment,
    };
    const running = this.#processes.spawn(typeof command === 'function' ? command(its) : command, its);
    await eventually(() => answers(origin), 30_000).catch(() => assert.fail(JSON.stringify(running.output())));
    return { origin, running };
  }

  /** A person logs in to an application that shows what it got. */
  async logIn(...application: Parameters<OutsideClients['run']>): Promise<readonly Got[]> {
    return JSON.parse((await this.open(await this.run(...application))).text) as readonly Got[];
  }

  /** A person opens the application's first page, logs in on the way, and ends where the application has them. */
  async open({ origin, running }: OutsideApplication, path = '/', person = new Person(this.gatehouse)) {
    let url = origin + path;
    for (let redirects = 0; redirects < REDIRECTS_AT_MOST; redirects++) {
      const response = await person.fetch(url);
      const location = response.headers.get('location');
      if (!location) {
        const text = await response.text();
        assert.ok(response.ok || text.startsWith('{'), `${text}${running.output().stderr}`);
        return { text, person };
      }
      await response.body?.cancel();
      url = new URL(location, url).href;
      if (url.startsWith(this.gatehouse.issuer)) url = (await person.authorize(url)).href;
    }
    return assert.fail(`The application redirects for ever: ${person.trace.join(', ')}`);
  }

  /** For an application that shows its token alone: asks userinfo in its place. */
  async readUserinfo(access_token: string): Promise<Got> {
    const response = await fetch(`${this.gatehouse.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${access_token}` },
    });
    const userinfo = (await response.json()) as Got['userinfo'];
    return { access_token, scope: String(decodeJwt(access_token)['scope']), userinfo };
  }

  /** Fails unless each token is for the demo API and userinfo, with every scope, and userinfo has the person's data. */
  expectBoth(tokens: readonly Got[]): void {
    assert.ok(tokens.length > 0, JSON.stringify(tokens));
    const { demo, issuer, account } = this.gatehouse;
    for (const { access_token, scope, id_token, userinfo } of tokens) {
      const claims = decodeJwt(access_token);
      assert.deepEqual(claims.aud, [demo.resource, `${issuer}/userinfo`]);
      assert.deepEqual(scope.split(' ').sort(), SCOPE.split(' ').sort());
      assert.deepEqual(
        [userinfo['sub'], userinfo['email'], userinfo['name']],
        [claims.sub, account.email, 'Demo Person'],
      );
      if (id_token) assert.deepEqual([id_token['iss'], id_token['sub']], [issuer, claims.sub]);
    }
  }

  async stop(): Promise<void> {
    await this.#processes.end();
    await this.gatehouse.stop();
  }
}

async function answers(origin: string): Promise<boolean> {
  return fetch(origin, { redirect: 'manual' }).then(
    async (response) => (await response.body?.cancel(), true),
    () => false,
  );
}
