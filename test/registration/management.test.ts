import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest, send as sendRequest } from '../support/client/authorization_request.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { postForm, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerResource } from '../support/node/operator.ts';
import {
  auditEvents,
  makePolicy,
  makeToken,
  REDIRECT,
  register,
  send,
  type Json,
  type RegistrationAnswer,
} from '../support/client/registration.ts';

const OTHER = 'https://app.example.com/other';

describe('a registered client', () => {
  let pair: Pair;
  let gatehouse: Gatehouse;
  let token: string;
  before(async () => {
    pair = await startPair();
    gatehouse = pair.a;
    await makePolicy(gatehouse, {
      name: 'partners',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
    token = (await makeToken(gatehouse, 'partners', { uses: 100 })).initial_access_token;
  });
  after(() => pair.stop());

  const registered = async (metadata: Json = {}): Promise<RegistrationAnswer['body']> => {
    const { status, body } = await register(gatehouse, metadata, token);
    assert.equal(status, 201, body.error_description);
    return body;
  };
  /** What a client that follows RFC 7592 sends: its metadata and client_id, without the members that the server adds. */
  const put = (client: RegistrationAnswer['body'], metadata: Json, rat = client.registration_access_token) =>
    send('PUT', client.registration_client_uri, { client_id: client.client_id, ...metadata }, rat);
  const admin = async (client: RegistrationAnswer['body']): Promise<Json> =>
    (await (await gatehouse.adminCall('GET', `/clients/${client.client_id}`)).json()) as Json;

  it('reads what it registered, and never a secret again', async () => {
    const client = await registered({ client_name: 'Billing' });
    const { status, body, headers } = await send(
      'GET',
      client.registration_client_uri,
      undefined,
      client.registration_access_token,
    );
    assert.equal(status, 200);
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(body['client_name'], 'Billing');
    assert.equal(body.client_id, client.client_id);
    assert.equal('client_secret' in body, false);
    assert.equal(JSON.stringify(body).includes('gatehouse_'), false);
  });

  it('replaces all of it, and gets another token, which alone is good from then on', async () => {
    const client = await registered({ client_name: 'Before', contacts: ['a@example.com'] });
    const { client_secret } = client;
    const changed = await put(client, { redirect_uris: [OTHER], client_name: 'After', client_secret });
    assert.equal(changed.status, 200, changed.body.error_description);
    assert.deepEqual(changed.body['redirect_uris'], [OTHER]);
    assert.equal(changed.body['client_name'], 'After');
    assert.equal('contacts' in changed.body, false, 'what is left out goes');
    assert.equal('client_secret' in changed.body, false);
    assert.notEqual(changed.body.registration_access_token, client.registration_access_token);
    assert.equal(
      (await send('GET', client.registration_client_uri, undefined, client.registration_access_token)).status,
      401,
    );
    const again = await send('GET', client.registration_client_uri, undefined, changed.body.registration_access_token);
    assert.equal(again.status, 200);
    const [updated] = await auditEvents(gatehouse, 'client.updated');
    assert.deepEqual(updated?.['actor'], { type: 'client', id: client.client_id });
  });

  it('is known with its new redirect URI on every node, and not with its old one', async () => {
    const client = await registered();
    const ask = async (node: Gatehouse, redirect_uri: string): Promise<number> => {
      const response = await sendRequest(node, authorizationRequest(client, { redirect_uri }));
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await ask(pair.b, REDIRECT), 303);
    await put(client, { redirect_uris: [OTHER] });
    await eventually(async () => (await ask(pair.b, REDIRECT)) === 400);
    assert.equal(await ask(pair.b, OTHER), 303);
  });

  it('can’t take off what an admin put on (CVE-2026-107623)', async () => {
    const { resource, scopes } = await registerResource(gatehouse, 'ledger');
    const client = await registered();
    const given = {
      dpop_bound_access_tokens: true,
      require_pushed_authorization_requests: true,
      resources: [{ resource, scopes }],
      secret_rotation_days: 30,
      // fewer of the scopes about people than the policy gives
      scope: 'openid',
    };
    assert.equal((await gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, given)).status, 200);
    const attempts: Json[] = [
      { redirect_uris: [OTHER] },
      { redirect_uris: [REDIRECT], dpop_bound_access_tokens: false, require_pushed_authorization_requests: false },
      { redirect_uris: [REDIRECT], scope: 'openid email offline_access' },
    ];
    let rat = client.registration_access_token;
    for (const attempt of attempts) {
      const { status, body } = await put(client, attempt, rat);
      assert.equal(status, 200, body.error_description);
      assert.equal(body['dpop_bound_access_tokens'], true);
      rat = body.registration_access_token;
      const stored = await admin(client);
      for (const [member, value] of Object.entries(given)) assert.deepEqual(stored[member], value, member);
    }
    await gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, { dpop_bound_access_tokens: null });
    const freed = await put(client, { redirect_uris: [REDIRECT] }, rat);
    assert.equal('dpop_bound_access_tokens' in freed.body, false, 'what the admin gave back is the client’s again');
    assert.equal((await admin(client))['require_pushed_authorization_requests'], true);
    await gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, { scope: null });
    await put(client, { redirect_uris: [REDIRECT] }, freed.body.registration_access_token);
    assert.equal((await admin(client))['scope'], 'openid profile email offline_access', 'and this is the policy’s');
  });

  it('loses no change, whether an admin or the client comes first (CVE-2026-107623)', async () => {
    for (let round = 0; round < 8; round++) {
      const client = await registered();
      const [patched, replaced] = await Promise.all([
        gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, { require_pushed_authorization_requests: true }),
        put(client, { redirect_uris: [OTHER] }),
      ]);
      assert.deepEqual([patched.status, replaced.status], [200, 200]);
      const stored = await admin(client);
      assert.equal(stored['require_pushed_authorization_requests'], true);
      assert.deepEqual(stored['redirect_uris'], [OTHER]);
    }
  });

  it('can’t make itself more than its policy lets it be (CVE-2026-41427)', async () => {
    const client = await registered();
    const refused: readonly (readonly [string, Json])[] = [
      ['invalid_client_metadata', { resources: [{ resource: 'https://api.example.com', scopes: ['x'] }] }],
      [
        'invalid_client_metadata',
        { grant_types: ['client_credentials'], redirect_uris: [], token_endpoint_auth_method: 'none' },
      ],
      ['invalid_redirect_uri', { redirect_uris: ['http://rp.example.test/cb'] }],
      ['invalid_client_metadata', { client_id: 'another' }],
      ['invalid_client_metadata', { client_secret: 'chosen' }],
      ['invalid_client_metadata', { client_secret_expires_at: 0 }],
      ['invalid_client_metadata', { client_id_issued_at: 0 }],
      ['invalid_client_metadata', { registration_access_token: client.registration_access_token }],
      ['invalid_client_metadata', { registration_client_uri: client.registration_client_uri }],
    ];
    for (const [error, metadata] of refused) {
      const { status, body } = await put(client, { redirect_uris: [REDIRECT], ...metadata });
      assert.equal(status, 400, JSON.stringify(metadata));
      assert.equal(body.error, error, JSON.stringify(metadata));
    }
    const { body } = await put(client, { redirect_uris: [REDIRECT] });
    assert.equal(typeof body.registration_access_token, 'string', 'what was refused has not used the token up');
  });

  it('gets a secret when it comes to need one, and loses it when it doesn’t', async () => {
    const client = await registered({ token_endpoint_auth_method: 'none' });
    const confidential = await put(client, {
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code', 'client_credentials'],
      token_endpoint_auth_method: 'client_secret_basic',
    });
    assert.match(confidential.body.client_secret ?? '', /^gatehouse_secret_/);
    const secret = { client_id: client.client_id, client_secret: confidential.body.client_secret! };
    const used = async (): Promise<unknown> => {
      const form = { grant_type: 'client_credentials' };
      return ((await (await postForm(`${gatehouse.url}/token`, form, secret)).json()) as Json)['error'];
    };
    assert.equal(await used(), 'invalid_target', 'it has proved itself, and has been given no resource');
    const rat = confidential.body.registration_access_token;
    const open = await put(client, { redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none' }, rat);
    assert.equal('client_secret_expires_at' in open.body, false);
    assert.equal(await used(), 'invalid_client');
  });

  it('uses its token once for a change, however many come at once', async () => {
    const client = await registered();
    const names = Array.from({ length: 8 }, (_, index) => `Name ${index}`);
    const answers = await Promise.all(
      names.map((client_name) => put(client, { redirect_uris: [REDIRECT], client_name })),
    );
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, ...Array<number>(7).fill(401)],
    );
  });

  it('is out of reach for another client’s token (DCR-19)', async () => {
    const [mine, theirs] = [await registered(), await registered()];
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const body = method === 'PUT' ? { client_id: theirs.client_id, redirect_uris: [OTHER] } : undefined;
      const answer = await send(method, theirs.registration_client_uri, body, mine.registration_access_token);
      assert.equal(answer.status, 401, method);
      assert.equal(answer.body.error, 'invalid_token');
      assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer realm=".*", error="invalid_token"$/);
    }
    assert.equal(
      (await send('GET', mine.registration_client_uri, undefined, mine.registration_access_token)).status,
      200,
    );
  });

  it('is out of reach without a token, with an initial one, and where there is no such client', async () => {
    const client = await registered();
    const uri = client.registration_client_uri;
    assert.equal((await send('GET', uri)).status, 401);
    assert.equal((await send('GET', uri, undefined, token)).status, 401);
    const unknown = uri.replace(client.client_id, 'client_unknown');
    assert.equal((await send('GET', unknown, undefined, client.registration_access_token)).status, 401);
    const made = await send('POST', uri, {}, client.registration_access_token);
    assert.equal(made.status, 405);
    assert.equal(made.headers.get('allow'), 'GET, PUT, DELETE, OPTIONS');
  });

  it('removes itself, with its token and its secret', async () => {
    const client = await registered();
    const { status } = await send(
      'DELETE',
      client.registration_client_uri,
      undefined,
      client.registration_access_token,
    );
    assert.equal(status, 204);
    assert.equal(
      (await send('GET', client.registration_client_uri, undefined, client.registration_access_token)).status,
      401,
    );
    assert.equal((await gatehouse.adminCall('GET', `/clients/${client.client_id}`)).status, 404);
  });

  it('does not come back once it was revoked, by no request of its own', async () => {
    const client = await registered();
    const path = `/clients/${client.client_id}`;
    assert.equal((await gatehouse.adminCall('POST', `${path}/revoke`, { reason: 'Phishing' })).status, 200);
    assert.equal((await put(client, { redirect_uris: [REDIRECT] })).status, 401);
    for (const method of ['GET', 'DELETE']) {
      assert.equal(
        (await send(method, client.registration_client_uri, undefined, client.registration_access_token)).status,
        401,
      );
    }
    assert.equal((await admin(client))['revoked'], true);
    await gatehouse.adminCall('POST', `${path}/restore`);
    assert.equal((await put(client, { redirect_uris: [REDIRECT] })).status, 401, 'its token ended for good');
  });

  it('is found by its policy in the admin API', async () => {
    const client = await registered();
    const { items } = (await (await gatehouse.adminCall('GET', '/clients?policy=partners&limit=200')).json()) as {
      items: Json[];
    };
    const found = items.find((one) => one['client_id'] === client.client_id);
    assert.deepEqual(found?.['registration'], {
      source: 'registration',
      policy: 'partners',
      held_members: [],
      document_pinned: false,
    });
    assert.equal(
      items.some((one) => one['registration'] === null),
      false,
    );
    assert.equal((await gatehouse.adminCall('DELETE', '/registration-policies/partners')).status, 409);
  });
});
