import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, type JWTPayload } from 'jose';
import * as openid from 'openid-client';
import { sql } from 'kysely';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { loginsOf } from '../support/client/relying_party.ts';

const ROOT = join(import.meta.dirname, '../..');
const EXAMPLE = join(ROOT, 'examples/node/step_up.js');
const ACR = 'urn:gatehouse:acr:password';

interface Example {
  demandLogin(claims: JWTPayload, demands: { acrValues?: string[]; maxAgeSeconds?: number }): string | undefined;
}
interface Authorize {
  createAuthorize(api: {
    issuer: string;
    audience: string;
  }): (request: IncomingMessage, scope: string) => Promise<{ status: number; claims?: JWTPayload }>;
}

describe('how and when a person logged in', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let api: Server;
  let apiUrl: string;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
    const { demandLogin } = (await import(EXAMPLE)) as Example;
    const { createAuthorize } = (await import(join(ROOT, 'examples/node/authorize.js'))) as Authorize;
    const authorize = createAuthorize({ issuer: gatehouse.issuer, audience: gatehouse.demo.resource });
    api = createServer((request, response) => {
      void authorize(request, 'notes:read').then(({ status, claims }) => {
        const challenge = claims && demandLogin(claims, { acrValues: [ACR], maxAgeSeconds: 60 });
        if (challenge) response.writeHead(401, { 'www-authenticate': challenge }).end();
        else response.writeHead(status).end();
      });
    });
    api.listen(0, '127.0.0.1');
    await once(api, 'listening');
    apiUrl = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
  });
  after(async () => {
    api.close();
    api.closeAllConnections();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  const forApi = (parameters: Readonly<Record<string, string>> = {}, person = new Person(gatehouse)) =>
    signIn(gatehouse, client, {
      scope: 'openid notes:read',
      parameters: { resource: gatehouse.demo.resource, ...parameters },
      person,
    });
  const ask = (token: string): Promise<Response> => fetch(apiUrl, { headers: { authorization: `Bearer ${token}` } });
  const loginOf = ({ acr, amr, auth_time }: JWTPayload): unknown[] => [acr, amr, auth_time];
  const seconds = (): number => Math.floor(Date.now() / 1000);

  it('is in the ID token, the API’s token and at introspection, the same everywhere', async () => {
    const { tokens } = await forApi();
    const claims = tokens.claims()!;
    const [acr, amr, authTime] = loginOf(claims);
    assert.deepEqual([acr, amr], [ACR, ['pwd']]);
    assert.ok(Math.abs(Number(authTime) - seconds()) < 60);
    assert.deepEqual(loginOf(decodeJwt(tokens.access_token)), loginOf(claims));
    const server = await registerClient(gatehouse, { introspects: [gatehouse.demo.resource] });
    const answer = await postForm(`${gatehouse.url}/introspect`, { token: tokens.access_token }, server);
    assert.deepEqual(loginOf((await answer.json()) as JWTPayload), loginOf(claims));
    const { config, tokens: own } = await signIn(gatehouse, client);
    assert.deepEqual(loginOf(await openid.tokenIntrospection(config, own.access_token)), loginOf(own.claims()!));
  });

  it('does not get any younger by a refresh, nor by another application’s request', async () => {
    const person = new Person(gatehouse);
    const { config, tokens } = await forApi({}, person);
    const first = loginOf(tokens.claims()!);
    moveClock(30);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.deepEqual(loginOf(decodeJwt(renewed.access_token)), first);
    assert.deepEqual(loginOf(renewed.claims()!), first);
    const other = await signIn(gatehouse, await registerApplication(gatehouse), { person });
    assert.deepEqual(loginOf(other.tokens.claims()!), first);
  });

  it('is told the same by another node', async () => {
    const beside = await startGatehouse({ beside: gatehouse });
    try {
      const person = new Person(gatehouse);
      const first = (await forApi({}, person)).tokens.claims()!;
      moveClock(30);
      const request = await requestCode(gatehouse, client, { person });
      const answer = await redeem(beside.url, client, request);
      const { id_token } = (await answer.json()) as { id_token: string };
      assert.deepEqual(loginOf(decodeJwt(id_token)), loginOf(first));
    } finally {
      await beside.stop();
    }
  });

  it('says nothing in a token that no person is behind', async () => {
    const form = { grant_type: 'client_credentials', scope: 'notes:read' };
    const answer = await postForm(`${gatehouse.url}/token`, form, gatehouse.demo);
    const { access_token } = (await answer.json()) as { access_token: string };
    assert.deepEqual(loginOf(decodeJwt(access_token)), [undefined, undefined, undefined]);
  });

  it('is what an API can demand more of, and the application gets by asking for what the API said (RFC 9470)', async () => {
    const person = new Person(gatehouse);
    const { tokens } = await forApi({}, person);
    assert.equal((await ask(tokens.access_token)).status, 200);
    moveClock(61);
    const { tokens: old } = await forApi({}, person);
    const refused = await ask(old.access_token);
    assert.equal(refused.status, 401);
    const challenge = refused.headers.get('www-authenticate')!;
    assert.match(challenge, /^Bearer error="insufficient_user_authentication"/);

    // as docs/applications.md says it
    const demanded = [...challenge.matchAll(/(acr_values|max_age)="([^"]*)"/g)].map(([, name, value]) => [name, value]);
    assert.deepEqual(Object.fromEntries(demanded), { acr_values: ACR, max_age: '60' });
    const { tokens: fresh } = await forApi(Object.fromEntries(demanded) as Record<string, string>, person);
    assert.equal(loginsOf(person), 2);
    assert.equal((await ask(fresh.access_token)).status, 200);
  });

  it('is demanded as the documentation shows it, word for word', async () => {
    const docs = await readFile(join(ROOT, 'docs/resource-servers.md'), 'utf8');
    assert.ok(docs.includes(await readFile(EXAMPLE, 'utf8')));
  });

  describe('where a request demands it', () => {
    const errorFor = async (parameters: Readonly<Record<string, string>>): Promise<string | null> => {
      const { callback, person } = await requestCode(gatehouse, client, { parameters });
      assert.equal(loginsOf(person), 0, 'nobody is asked for a password in vain');
      return callback.searchParams.get('error');
    };
    const essential = (acr: object): string => JSON.stringify({ id_token: { acr: { essential: true, ...acr } } });

    it('and no login can reach it, is refused before a person logs in', async () => {
      for (const acr of [{ value: 'urn:x:strong' }, { values: ['urn:x:strong', 'urn:x:stronger'] }])
        assert.equal(await errorFor({ claims: essential(acr) }), 'unmet_authentication_requirements');
    });

    it('is not softened by acr_values beside it', async () => {
      const claims = essential({ values: ['urn:x:strong'] });
      assert.equal(await errorFor({ claims, acr_values: ACR }), 'unmet_authentication_requirements');
    });

    it('and it can be reached, is met', async () => {
      const parameters = { claims: essential({ values: ['urn:x:strong', ACR] }) };
      const { tokens } = await signIn(gatehouse, client, { parameters });
      assert.equal(tokens.claims()!['acr'], ACR);
    });

    it('only wishes for it, is answered with what there is', async () => {
      const parameters = { acr_values: 'urn:x:strong urn:x:stronger' };
      assert.equal((await signIn(gatehouse, client, { parameters })).tokens.claims()!['acr'], ACR);
    });

    it('is answered after another login where the session does not say it', async () => {
      for (const parameters of [{ acr_values: ACR }, { claims: essential({ value: ACR }) }]) {
        const person = new Person(gatehouse);
        await signIn(gatehouse, client, { person });
        // a session from before there were such names
        await sql`update artifacts set payload = payload - 'acr' where kind = 'Session'`.execute(gatehouse.database);
        const silent = { ...parameters, prompt: 'none' };
        const { callback } = await requestCode(gatehouse, client, { person, parameters: silent });
        assert.equal(callback.searchParams.get('error'), 'login_required');
        const { tokens } = await signIn(gatehouse, client, { person, parameters });
        assert.deepEqual([tokens.claims()!['acr'], loginsOf(person)], [ACR, 2]);
      }
    });

    for (const [what, parameters, sentence] of [
      ['to be confirmed', { prompt: 'login' }, 'asks you to confirm that it’s still you.'],
      ['to be recent', { max_age: '1' }, 'asks for a login that is more recent than yours.'],
    ] as const) {
      it(`${what}, the page says so`, async () => {
        const person = new Person(gatehouse);
        await signIn(gatehouse, client, { person });
        moveClock(5);
        const { config } = await requestCode(gatehouse, client, { person });
        const challenge = {
          code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
          code_challenge_method: 'S256',
        };
        const redirect_uri = 'https://app.example.com/callback';
        const url = openid.buildAuthorizationUrl(config, {
          scope: 'openid',
          redirect_uri,
          ...challenge,
          ...parameters,
        });
        const { page } = await person.open(url);
        assert.ok(page.includes(sentence), page);
        assert.ok(page.includes('Confirm that it’s you'));
        const first = await new Person(gatehouse).open(url);
        assert.equal(first.page.includes(sentence), false, 'who is not logged in is simply asked to');
      });
    }

    it('of another person, the page asks for that one, and takes no other', async () => {
      const account = { email: 'other@example.com', password: 'a password of twelve' };
      assert.equal((await gatehouse.adminCall('POST', '/accounts', account)).status, 201);
      const theirs = await signIn(gatehouse, client, { person: new Person(gatehouse, { account }) });
      const person = new Person(gatehouse);
      await signIn(gatehouse, client, { person });
      const parameters = { id_token_hint: theirs.tokens.id_token! };
      const { callback, config } = await requestCode(gatehouse, client, { person, parameters });
      assert.equal(callback.searchParams.get('error'), 'login_required');
      const url = openid.buildAuthorizationUrl(config, {
        scope: 'openid',
        redirect_uri: 'https://app.example.com/callback',
        code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
        code_challenge_method: 'S256',
        ...parameters,
      });
      const { page } = await person.open(url);
      assert.ok(page.includes('expects another account than the one you are logged in with.'));
      assert.equal(page.includes('readonly'), false);
    });
  });
});
