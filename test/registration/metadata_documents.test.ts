import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { authorizationRequest, send } from '../support/client/authorization_request.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure, redeem, requestCode } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { eventually } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { auditEvents, changePolicy, makePolicy, type Json } from '../support/client/registration.ts';

const CALLBACK = `https://${NAME}/callback`;

describe('a client id metadata document', () => {
  let gatehouse: Gatehouse;
  let beside: Gatehouse;
  let outside: Outside;
  /** What the host answers with, by path. */
  const documents = new Map<
    string,
    {
      readonly hangs?: boolean;
      readonly status?: number;
      readonly type?: string;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  >();
  const at = (path: string): string => `https://${NAME}:${outside.port}${path}`;
  const publish = (path: string, members: Json = {}, headers: Record<string, string> = {}): string => {
    const document = {
      client_id: at(path),
      client_name: 'Notes',
      redirect_uris: [CALLBACK],
      token_endpoint_auth_method: 'none',
      ...members,
    };
    documents.set(path, { body: JSON.stringify(document), headers });
    return at(path);
  };

  before(async () => {
    outside = await startOutside((request, response) => {
      const document = documents.get(request.url ?? '');
      if (document?.hangs) return;
      const { status = document ? 200 : 404, type = 'application/json', body = '{}', headers = {} } = document ?? {};
      response.writeHead(status, { 'content-type': type, ...headers }).end(body);
    });
    const options = {
      environment: { GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    };
    gatehouse = await startGatehouse(options);
    beside = await startGatehouse({ ...options, beside: gatehouse });
    publish('/off.json');
  });
  afterEach(resetClock);
  after(async () => {
    await beside.stop();
    await gatehouse.stop();
    closeOutside();
  });

  /** An authorization request as a browser brings it: 303 leads to the login, 400 is a page that says why not. */
  const ask = async (
    client_id: string,
    { node = gatehouse, redirect_uri = CALLBACK } = {},
  ): Promise<{ readonly status: number; readonly text: string }> => {
    const response = await send(node, authorizationRequest({ client_id }, { redirect_uri }));
    return { status: response.status, text: (await response.text()).replaceAll(/<[^>]*>|\s+/g, ' ') };
  };
  const fetched = (path: string): number => outside.requests.filter((request) => request === `GET ${path}`).length;
  const admin = async (clientId: string, node = gatehouse): Promise<Json> =>
    (await (await node.adminCall('GET', `/clients/${encodeURIComponent(clientId)}`)).json()) as Json;
  const forgetCounts = () => gatehouse.database.deleteFrom('failed_attempts').execute();

  it('is not fetched unless a policy takes it, and discovery says so', async () => {
    assert.equal((await ask(at('/off.json'))).status, 400);
    assert.equal(fetched('/off.json'), 0);
    const supported = async (): Promise<unknown> =>
      ((await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).json()) as Json)[
        'client_id_metadata_document_supported'
      ];
    assert.equal(await supported(), undefined);
    await makePolicy(gatehouse, { name: 'documents', client_id_metadata_documents: true });
    assert.equal(await supported(), true);
    assert.equal((await ask(at('/off.json'))).status, 303);
    assert.equal(fetched('/off.json'), 1);
  });

  it('makes one client on every node, with a row that grants and consents refer to', async () => {
    const clientId = publish('/app.json');
    const [one, other] = await Promise.all([ask(clientId), ask(clientId, { node: beside })]);
    assert.deepEqual([one.status, other.status], [303, 303]);
    const { code, verifier } = await requestCode(
      gatehouse,
      { client_id: clientId, client_secret: '' },
      { parameters: { redirect_uri: CALLBACK } },
    );
    const redeemed = await redeem(
      beside.url,
      { client_id: clientId, client_secret: '' },
      { code, verifier },
      { redirect_uri: CALLBACK },
    );
    assert.equal(redeemed.status, 200);
    const client = await admin(clientId, beside);
    assert.equal(client['client_name'], 'Notes');
    assert.deepEqual(client['registration'], {
      source: 'metadata_document',
      policy: 'documents',
      held_members: [],
      document_pinned: false,
    });
    assert.equal(
      (await auditEvents(gatehouse, 'client.registered')).filter((event) => event['client_id'] === clientId).length,
      1,
    );
  });

  const REFUSED: readonly (readonly [what: string, members: Json, says: RegExp])[] = [
    ['names another client', { client_id: 'https://other.example/app.json' }, /client_id must be the URL/],
    ['holds a secret', { client_secret: 'everybody knows' }, /client_secret must not be in a public document/],
    ['says when a secret expires', { client_secret_expires_at: 0 }, /client_secret_expires_at must not be/],
    [
      'wants to prove itself with a secret',
      { token_endpoint_auth_method: 'client_secret_basic' },
      /token_endpoint_auth_method must be none or private_key_jwt/,
    ],
    [
      'leads people to a host that the policy does not name',
      { redirect_uris: ['https://evil.example/cb'] },
      /redirect_uris\/0 must have a host/,
    ],
    [
      'gives itself rights',
      { resources: [{ resource: 'https://api.example.com', scopes: ['x'] }] },
      /resources can only be set by an admin/,
    ],
    [
      'asks for tokens without a person',
      { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
      /grant_types/,
    ],
    ['has a website of script', { client_uri: 'javascript:alert(1)' }, /client_uri must be an https URL/],
  ];
  for (const [index, [what, members, says]] of REFUSED.entries()) {
    it(`that ${what} is refused`, async () => {
      const clientId = publish(`/refused-${index}.json`, members);
      const { status, text } = await ask(clientId);
      assert.equal(status, 400);
      assert.match(text, says);
      assert.equal((await gatehouse.adminCall('GET', `/clients/${encodeURIComponent(clientId)}`)).status, 404);
    });
  }

  it('that is no small JSON object of the right type, or redirects, is refused', async () => {
    await forgetCounts();
    const good = JSON.stringify({ client_id: at('/x'), redirect_uris: [CALLBACK], token_endpoint_auth_method: 'none' });
    const cases: readonly (readonly [string, Parameters<typeof documents.set>[1]])[] = [
      ['/html', { body: good.replace('/x', '/html'), type: 'text/html' }],
      ['/broken', { body: '{' }],
      ['/list', { body: '[]' }],
      ['/twice', { body: `{"client_id":"a",${good.slice(1)}` }],
      ['/large', { body: JSON.stringify({ client_id: at('/large'), padding: 'x'.repeat(40_000) }) }],
      ['/elsewhere', { body: '', status: 302, headers: { location: at('/app.json') } }],
      ['/failing', { body: good.replace('/x', '/failing'), status: 500 }],
    ];
    for (const [path, document] of cases) {
      documents.set(path, document);
      assert.equal((await ask(at(path))).status, 400, path);
    }
    const reasons = (await auditEvents(gatehouse, 'registration.refused')).map(
      (event) => (event['details'] as { reason: string }).reason,
    );
    assert.equal(reasons.includes('the client metadata document can not be fetched'), true);
  });

  it('is not even asked for where the URL could be read in two ways', async () => {
    const requestsBefore = outside.requests.length;
    const origin = `https://${NAME}:${outside.port}`;
    for (const url of [
      origin,
      `${origin}/`,
      `${origin}/a/../app.json`,
      `${origin}/%2e%2e/app.json`,
      `${origin}/app.json#x`,
      `${origin}/app.json?n=1`,
      `https://user@${NAME}:${outside.port}/app.json`,
      `https://${NAME.toUpperCase()}:${outside.port}/app.json`,
      `${origin}/app.json\\x`,
      `http://${NAME}:${outside.port}/app.json`,
      `${origin}/${'x'.repeat(500)}`,
    ]) {
      assert.equal((await ask(url)).status, 400, url);
    }
    assert.equal(outside.requests.length, requestsBefore);
  });

  it('is not fetched from inside our own network (CVE-2026-1180, CVE-2026-4874)', async () => {
    for (const url of [
      'https://127.0.0.1/app.json',
      'https://[::1]/app.json',
      'https://169.254.169.254/latest',
      'https://10.0.0.1/app.json',
    ]) {
      const { status, text } = await ask(url);
      assert.equal(status, 400, url);
      assert.doesNotMatch(text, /ECONN|address|timed/i, 'what is there is nobody’s to know');
      const { host } = new URL(url);
      const why = gatehouse.log.filter((line) => line.includes('egress.failed') && line.includes(`"${host}"`));
      assert.match(why.at(-1) ?? '', /address_refused/, url);
    }
  });

  it('is fetched from the hosts that the policy names, and from no other', async () => {
    await changePolicy(gatehouse, 'documents', { client_id_hosts: ['apps.example.com'] });
    const clientId = publish('/unlisted.json');
    assert.equal((await ask(clientId)).status, 400);
    assert.equal(fetched('/unlisted.json'), 0);
    assert.equal((await ask(at('/app.json'))).status, 400, 'one that is known already is out as well');
    await changePolicy(gatehouse, 'documents', { client_id_hosts: null });
    assert.equal((await ask(clientId)).status, 303);
  });

  it('is read again when it is no longer fresh, and its changes hold on every node', async () => {
    const clientId = publish('/moving.json', {}, { 'cache-control': 'max-age=31536000' });
    assert.equal((await ask(clientId)).status, 303);
    const moved = `https://${NAME}/moved`;
    publish('/moving.json', { redirect_uris: [moved] });
    assert.equal((await ask(clientId, { redirect_uri: moved })).status, 400, 'it is fresh for now');
    moveClock(3_700);
    assert.equal(
      (await ask(clientId, { redirect_uri: moved })).status,
      303,
      'whatever its max-age says, an hour is the most',
    );
    assert.equal((await ask(clientId, { node: beside, redirect_uri: CALLBACK })).status, 400);
    assert.equal(fetched('/moving.json'), 2);
  });

  it('can’t take off what an admin put on (CVE-2026-107623)', async () => {
    const clientId = publish('/bound.json');
    await ask(clientId);
    const path = `/clients/${encodeURIComponent(clientId)}`;
    const patch = { require_pushed_authorization_requests: true, scope: 'openid' };
    const patched = await gatehouse.adminCall('PATCH', path, patch);
    assert.equal(patched.status, 200);
    publish('/bound.json', { client_name: 'Notes 2', require_pushed_authorization_requests: false });
    moveClock(3_700);
    await ask(clientId);
    const client = await admin(clientId);
    assert.equal(client['client_name'], 'Notes 2');
    assert.equal(client['require_pushed_authorization_requests'], true);
    assert.equal(client['scope'], 'openid');
  });

  it('counts for an hour while its host does not answer, and no longer', async () => {
    await forgetCounts();
    const clientId = publish('/outage.json');
    assert.equal((await ask(clientId)).status, 303);
    documents.set('/outage.json', { status: 503, body: '' });
    moveClock(1_800);
    assert.equal((await ask(clientId)).status, 303);
    moveClock(3_700);
    assert.equal((await ask(clientId)).status, 400);
  });

  describe('that can’t be read', () => {
    const application = async (path: string, members: Json = {}) => {
      const grant_types = ['authorization_code', 'refresh_token'];
      const client = { client_id: publish(path, { grant_types, ...members }), client_secret: '' };
      const how = { scope: 'openid offline_access', parameters: { redirect_uri: CALLBACK, prompt: 'consent' } };
      const { code, verifier } = await requestCode(gatehouse, client, how);
      const redeemed = await redeem(gatehouse.url, client, { code, verifier }, { redirect_uri: CALLBACK });
      const { refresh_token: refreshToken = '' } = (await redeemed.json()) as { refresh_token?: string };
      assert.notEqual(refreshToken, '');
      return { client, refreshToken };
    };
    const post = (path: string, form: Readonly<Record<string, string>>): Promise<Response> =>
      postForm(`${gatehouse.url}${path}`, form);
    const refresh = (clientId: string, refreshToken: string): Promise<Response> =>
      post('/token', { grant_type: 'refresh_token', client_id: clientId, refresh_token: refreshToken });

    for (const [path, what, answer] of [
      ['/gone-403.json', 'its host answers 403', { status: 403, body: '' }],
      ['/gone-503.json', 'its host is away', { status: 503, body: '' }],
      ['/gone-404.json', 'it is not there', { status: 404, body: '' }],
      ['/gone-html.json', 'its host answers with a page', { type: 'text/html', body: '<html>' }],
      ['/gone-bad.json', 'it has become invalid', { body: '{"client_id":"https://other.example/x"}' }],
    ] as const) {
      it(`serves token requests with its last good copy for days while ${what}, and no new login (FIELD-C3b)`, async () => {
        await forgetCounts();
        const { client, refreshToken } = await application(path);
        documents.set(path, answer);
        moveClock(3 * 86_400);
        const refreshed = await refresh(client.client_id, refreshToken);
        assert.equal(refreshed.status, 200);
        const { refresh_token: next = '' } = (await refreshed.json()) as { refresh_token?: string };
        assert.equal((await ask(client.client_id)).status, 400);
        const revoked = await post('/revoke', { client_id: client.client_id, token: next });
        assert.equal(revoked.status, 200);
        const again = await refresh(client.client_id, next);
        assert.deepEqual([again.status, ((await again.json()) as Json)['error']], [400, 'invalid_grant']);
      });
    }

    it('delays no token request while its host accepts connections and never answers (FIELD-C3b)', async () => {
      await forgetCounts();
      const path = '/gone-hangs.json';
      const { client, refreshToken } = await application(path);
      const fetchedBefore = fetched(path);
      documents.set(path, { hangs: true, body: '' });
      let next = refreshToken;
      const refreshAll = async (): Promise<void> => {
        for (const node of [gatehouse, beside, gatehouse, beside]) {
          const form = { grant_type: 'refresh_token', client_id: client.client_id, refresh_token: next };
          const answer = await postForm(`${node.url}/token`, form);
          const body = (await answer.json()) as Json;
          assert.equal(answer.status, 200, JSON.stringify(body));
          next = String(body['refresh_token']);
        }
      };
      moveClock(1_800);
      const began = performance.now();
      await refreshAll();
      assert.ok(performance.now() - began < 2_500, 'No request waits for the host.');
      assert.ok(fetched(path) - fetchedBefore <= 2, 'Each node looks at the document once at a time.');
      assert.equal((await ask(client.client_id)).status, 303, 'A login gets the copy in time.');
      moveClock(3 * 86_400);
      await refreshAll();
      assert.equal((await ask(client.client_id)).status, 400);

      publish(path, { client_name: 'Notes 3', grant_types: ['authorization_code', 'refresh_token'] });
      await eventually(async () => {
        moveClock(60);
        await refreshAll();
        return (await admin(client.client_id))['client_name'] === 'Notes 3';
      });
    });

    it('ends token requests once its client is revoked or its host is out (FIELD-C3b)', async () => {
      await forgetCounts();
      const { client, refreshToken } = await application('/gone-revoked.json');
      documents.set('/gone-revoked.json', { status: 403, body: '' });
      moveClock(86_400);
      await changePolicy(gatehouse, 'documents', { client_id_hosts: ['apps.example.com'] });
      assert.equal((await refresh(client.client_id, refreshToken)).status, 401);
      await changePolicy(gatehouse, 'documents', { client_id_hosts: null });
      const path = `/clients/${encodeURIComponent(client.client_id)}/revoke`;
      assert.equal((await gatehouse.adminCall('POST', path, { reason: 'Phishing' })).status, 200);
      assert.equal((await refresh(client.client_id, refreshToken)).status, 401);
    });

    it('and of which nothing is known gets 503 with Retry-After while its host is away (FIELD-C3b)', async () => {
      await forgetCounts();
      documents.set('/never.json', { status: 503, body: '' });
      documents.set('/never-403.json', { status: 403, body: '' });
      for (const path of ['/never.json', '/never-403.json']) {
        const answer = await refresh(at(path), 'x');
        assert.equal(answer.status, 503, path);
        assert.equal(Number(answer.headers.get('retry-after')) > 0, true);
        const { error } = (await answer.json()) as Json;
        assert.equal(error, 'temporarily_unavailable');
        const pushed = await post('/par', { client_id: at(path), response_type: 'code', redirect_uri: CALLBACK });
        assert.equal(pushed.status, 503, path);
        await pushed.body?.cancel();
        assert.equal((await ask(at(path))).status, 400, 'a person reads what is wrong');
      }
      const absent = await refresh(at('/not-there.json'), 'x');
      assert.deepEqual([absent.status, ((await absent.json()) as Json)['error']], [400, 'invalid_client']);
    });

    it('gets 503, not invalid_client, where an address names too many unknown URLs (FIELD-C3b)', async () => {
      await forgetCounts();
      const statuses = new Set<number>();
      for (let i = 0; i < 31; i++) statuses.add((await refresh(at(`/unknown-${i}.json`), 'x')).status);
      assert.deepEqual([...statuses], [400, 503]);
      await forgetCounts();
    });
  });

  describe('that an admin pins', () => {
    const pathOf = (clientId: string, action = ''): string => `/clients/${encodeURIComponent(clientId)}${action}`;

    it('stays as it is on every node until it is unpinned, and both are on record (FIELD-C3b)', async () => {
      await forgetCounts();
      const clientId = publish('/pinned.json');
      assert.equal((await ask(clientId)).status, 303);
      const before_ = await gatehouse.adminCall('GET', pathOf(clientId));
      const pinned = await gatehouse.adminCall('POST', pathOf(clientId, '/pin'));
      assert.equal(pinned.status, 200);
      assert.notEqual(pinned.headers.get('etag'), before_.headers.get('etag'));
      assert.equal(((await pinned.json()) as { registration: Json }).registration['document_pinned'], true);
      assert.equal((await gatehouse.adminCall('POST', pathOf(clientId, '/pin'))).status, 409);
      const moved = `https://${NAME}/moved`;
      publish('/pinned.json', { redirect_uris: [moved] });
      moveClock(30 * 86_400);
      for (const node of [gatehouse, beside]) {
        assert.equal((await ask(clientId, { node })).status, 303);
        assert.equal((await ask(clientId, { node, redirect_uri: moved })).status, 400);
      }
      assert.equal(fetched('/pinned.json'), 1);
      assert.equal((await gatehouse.adminCall('POST', pathOf(clientId, '/unpin'))).status, 200);
      assert.equal((await gatehouse.adminCall('POST', pathOf(clientId, '/unpin'))).status, 409);
      assert.equal((await ask(clientId, { redirect_uri: moved })).status, 303);
      for (const event of ['client.document_pinned', 'client.document_unpinned']) {
        const [recorded] = await auditEvents(gatehouse, event);
        assert.equal(recorded?.['client_id'], clientId, event);
      }
    });

    it('is the document of a client that has one (FIELD-C3b)', async () => {
      const made = await gatehouse.adminCall('POST', '/clients', { client_name: 'Reports' });
      const { client_id: clientId } = (await made.json()) as { client_id: string };
      for (const action of ['/pin', '/unpin']) {
        const answer = await gatehouse.adminCall('POST', pathOf(clientId, action));
        assert.equal(answer.status, 409);
        assert.match(await answer.text(), /has no metadata document/);
        assert.equal((await gatehouse.adminCall('POST', pathOf(at('/no-client.json'), action))).status, 404);
      }
    });
  });

  it('does not bring back a client that was revoked', async () => {
    await forgetCounts();
    const clientId = publish('/phisher.json');
    assert.equal((await ask(clientId)).status, 303);
    const path = `/clients/${encodeURIComponent(clientId)}`;
    assert.equal((await gatehouse.adminCall('POST', `${path}/revoke`, { reason: 'Phishing' })).status, 200);
    assert.equal((await ask(clientId)).status, 400);
    moveClock(7_300);
    assert.equal((await ask(clientId)).status, 400);
    assert.equal(fetched('/phisher.json'), 1);
  });

  it('tells the person at consent where it is from, and asks each time', async () => {
    const clientId = publish('/known.json', { client_name: 'Your Bank' });
    const person = new Person(gatehouse);
    const config = await configure(gatehouse, { client_id: clientId, client_secret: '' });
    assert.equal(config.clientMetadata().client_id, clientId);
    const query = authorizationRequest({ client_id: clientId }, { redirect_uri: CALLBACK });
    const login = await person.open(`${gatehouse.url}/authorize?${query}`);
    const action = /action="([^"]*\/login)"/.exec(login.page)![1]!;
    const consent = await person.submit(new URL(action, login.url), { ...gatehouse.account });
    assert.match(consent.page, new RegExp(`known by its address, ${NAME}`));
    assert.doesNotMatch(consent.page, /name="remember"/);
  });

  it('that leads to the person’s own device alone has a warning of its own at consent (FIELD-C3c)', async () => {
    await forgetCounts();
    const loopback = 'http://127.0.0.1/callback';
    const consentPage = async (path: string, redirectUris: readonly string[], members: Json = {}): Promise<string> => {
      const clientId = publish(path, { redirect_uris: redirectUris, ...members });
      const person = new Person(gatehouse);
      const query = authorizationRequest({ client_id: clientId }, { redirect_uri: redirectUris[0]! });
      const login = await person.open(`${gatehouse.url}/authorize?${query}`);
      const action = /action="([^"]*\/login)"/.exec(login.page)![1]!;
      return (await person.submit(new URL(action, login.url), { ...gatehouse.account })).page;
    };
    const warning = /Any program on your device can pose as it/;
    assert.match(await consentPage('/on-device.json', [loopback]), warning);
    assert.match(await consentPage('/scheme.json', ['com.example.app:/cb', loopback]), warning);
    assert.doesNotMatch(await consentPage('/with-host.json', [loopback, CALLBACK]), warning);
    const keys = { keys: [{ kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }] };
    const signing = { token_endpoint_auth_method: 'private_key_jwt', jwks: keys };
    assert.doesNotMatch(await consentPage('/with-key.json', [loopback], signing), warning, 'its key proves what it is');
  });

  it('is fetched for so many unknown URLs of one address, and no more', async () => {
    await forgetCounts();
    const answers = [];
    for (let i = 0; i < 35; i++) answers.push((await ask(publish(`/many-${i}.json`))).status);
    assert.equal(answers.filter((status) => status === 303).length, 30);
    assert.equal((await ask(at('/app.json'))).status, 303, 'who is known is not counted');
  });
});
