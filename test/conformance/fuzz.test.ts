import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { basic } from '../support/client/code_flow.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { fuzz } from '../support/fuzz/run.ts';
import { bytesOf, complaintsAbout, send, type Shot } from '../support/fuzz/shot.ts';
import { startTarget, type Target } from '../support/fuzz/target.ts';
import { deflateBomb, INJECTED_HEADER, MARKUP, slowKey } from '../support/fuzz/values.ts';
import { startGatehouse, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { recordRoutes } from '../support/node/registered_routes.ts';

const FORM = 'application/x-www-form-urlencoded';
/** What an answer may take on a machine that is busy; a key derivation of 2^31 rounds takes an hour. */
const PATIENCE_MS = 5_000;

describe('the server under nonsense', () => {
  let database: TestDatabase;
  let target: Target;
  before(async () => {
    database = await cloneDatabase();
    target = await startTarget({ DATABASE_URL: database.url, GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY });
  });
  after(async () => {
    await target.stop();
    await database.drop();
  });

  it('answers any request, at every route, without a fault of its own', async () => {
    const state = await target.demoState();
    const routes = target.routes.length;
    const { shots, statuses, findings } = await fuzz(target, { seed: 7, seconds: 100, shotsAtMost: 2 * routes });
    assert.deepEqual(findings, []);
    assert.deepEqual(await target.demoState(), state, 'the demo account, which no request may change');
    assert.ok(shots >= routes, `${shots} requests at ${routes} routes`);
    // it got past the front door, too
    for (const status of ['200', '303', '400', '401', '404'])
      assert.ok((statuses[status] ?? 0) > 0, JSON.stringify(statuses));
  });

  it('has a request for each route that a node registers', async () => {
    const recorded = await recordRoutes();
    const node = await startGatehouse({ environment: { NODE_ENV: 'development' }, host: 'localhost' });
    const registered = recorded.stop();
    await node.stop();
    assert.ok(registered.length > 150, `${registered.length} routes`);
    const sent = new Set(target.routes.map(lineOf));
    // each GET answers HEAD as well
    const missing = registered.filter((route) => route.method !== 'HEAD' && !sent.has(lineOf(route)));
    assert.deepEqual(missing.map(lineOf), []);
  });

  it('knows the signs of a fault', () => {
    const answer = {
      status: 400,
      head: 'HTTP/1.1 400\r\nContent-Type: text/html',
      body: '<h1>No</h1>',
      milliseconds: 1,
    };
    assert.deepEqual(complaintsAbout(answer), []);
    const faults = [
      { ...answer, status: 500 },
      { ...answer, body: `<h1>${MARKUP}</h1>` },
      { ...answer, head: `${answer.head}\r\n${INJECTED_HEADER}: 1` },
      { ...answer, body: '<h1>No</h1> at handle (/srv/app/src/http/router.ts:7:1)' },
      { ...answer, head: 'HTTP/1.1 400\r\nContent-Type: text/plain', body: 'Bad Request' },
      { ...answer, head: 'HTTP/1.1 400\r\nContent-Type: application/json', body: '{"message":"no"}' },
    ];
    for (const fault of faults) assert.equal(complaintsAbout(fault).length, 1, JSON.stringify(fault));
  });

  const tokens: Readonly<Record<string, string>> = {
    'a deflate bomb (CVE-2024-28122) (CVE-2026-2575)': deflateBomb(),
    'a deflate bomb for an RSA key (CVE-2024-28122)': deflateBomb('RSA-OAEP'),
    'a key to derive in 2^31 rounds (GHSA-6qvw-249j-h44c)': slowKey(),
    'a key to derive in a negative number of rounds': slowKey(-1),
  };
  for (const [what, token] of Object.entries(tokens)) {
    it(`does no work for ${what}, wherever it takes a token`, async () => {
      const { client_id, client_secret } = target.demo;
      const assertion = {
        client_id,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: token,
      };
      const authorization = basic(client_id, client_secret);
      for (const shot of [
        post('/token', { grant_type: 'client_credentials', ...assertion }, {}),
        post('/token', { grant_type: 'client_credentials' }, { authorization, dpop: token }),
        post('/par', { ...assertion, request: token }, {}),
        post('/par', { request: token }, { authorization }),
        post('/introspect', { token }, { authorization }),
        post('/revoke', { token }, { authorization }),
        get('/userinfo', { authorization: `Bearer ${token}` }),
        get('/admin/v1/clients', { authorization: `Bearer ${token}` }),
        get(`/authorize?${new URLSearchParams({ request: token, client_id, scope: 'openid' })}`),
        get(`/authorize?${new URLSearchParams({ id_token_hint: token, client_id, scope: 'openid' })}`),
        get(`/logout?${new URLSearchParams({ id_token_hint: token })}`),
      ]) {
        await assertRefused(shot, `${shot.method} ${shot.target.slice(0, 40)}`);
      }
    });
  }

  const authorizations = [
    'Bearer',
    'Bearer ',
    'Bearer  x',
    'Bearer x y',
    'Bearer \u00ff',
    'Bearer ..',
    'Bearer e30.e30.',
    'Bearer =',
    'bearer,',
    'Bearer "x"',
    'DPoP',
    'DPoP x',
    'Basic',
    'Basic :',
    'Basic Og==',
    'Basic JTAw',
    'x',
    ',',
  ];
  for (const authorization of authorizations) {
    it(`refuses Authorization: ${JSON.stringify(authorization)} as the caller’s mistake (CVE-2026-9803)`, async () => {
      for (const shot of [
        get('/userinfo', { authorization }),
        post('/userinfo', {}, { authorization }),
        post('/token', { grant_type: 'client_credentials' }, { authorization }),
        post('/introspect', { token: 'x' }, { authorization }),
        get('/admin/v1/clients', { authorization }),
      ]) {
        await assertRefused(shot, `${shot.method} ${shot.target}`);
      }
    });
  }

  /** Whatever the parameters are called. */
  function lineOf({ method, path }: { readonly method: string; readonly path: string }): string {
    return `${method} ${path.replaceAll(/\{\w+\}/g, '{}')}`;
  }

  async function assertRefused(shot: Shot, what: string): Promise<void> {
    const answer = await send(target.port, bytesOf(shot));
    assert.deepEqual(complaintsAbout(answer), [], what);
    // a token of someone else's is no error to introspection and revocation (RFC 7662, 2.2; RFC 7009, 2.2)
    const nothingSaid = answer.status === 200 && /^(\{"active":false\})?$/.test(answer.body);
    const refused = answer.status !== undefined && answer.status >= 400 && answer.status < 500;
    const ended = answer.status === 303 && /^location: \S*[?&]error=/im.test(answer.head);
    assert.ok(nothingSaid || refused || ended, `${what}: ${answer.status} ${answer.head} ${answer.body.slice(0, 300)}`);
    assert.ok(answer.milliseconds < PATIENCE_MS, `${what}: ${answer.milliseconds} ms`);
  }

  function get(path: string, headers: Readonly<Record<string, string>> = {}): Shot {
    return { method: 'GET', target: path, headers: [...common(), ...Object.entries(headers)], body: Buffer.alloc(0) };
  }

  function post(path: string, form: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>>): Shot {
    const body = Buffer.from(new URLSearchParams(form).toString());
    const type = [
      ['content-type', FORM],
      ['content-length', String(body.length)],
    ] as const;
    return { method: 'POST', target: path, headers: [...common(), ...type, ...Object.entries(headers)], body };
  }

  function common(): (readonly [string, string])[] {
    return [
      ['host', target.host],
      ['connection', 'close'],
      ['accept', 'application/json'],
    ];
  }
});
