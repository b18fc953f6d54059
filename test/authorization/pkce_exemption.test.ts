import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { ADMIN_ONLY_MEMBERS } from '../../src/clients/metadata/client_metadata.ts';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest, reachesLogin, send } from '../support/client/authorization_request.ts';
import { redeem, REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const EXEMPT = { pkce_exemption: { reason: 'an old portal that can’t be changed' } };
const NONE = { code_challenge: undefined, code_challenge_method: undefined };

describe('a client that an admin has let off PKCE', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse, EXEMPT);
  });
  after(() => gatehouse.stop());

  const codeFor = async (changed: Readonly<Record<string, string | undefined>>): Promise<string> => {
    const query = authorizationRequest(client, changed);
    const callback = await new Person(gatehouse).authorize(`${gatehouse.issuer}/authorize?${query}`);
    return callback.searchParams.get('code')!;
  };
  const answerTo = async (code: string, code_verifier: string | undefined): Promise<[number, string | undefined]> => {
    const answer = await redeem(gatehouse.url, client, { code, verifier: '' }, { code_verifier });
    return [answer.status, ((await answer.json()) as { error?: string }).error];
  };
  const events = async (clientId: string): Promise<unknown[]> => {
    const { body } = await admin.get(`/audit-events?client_id=${clientId}`);
    return body.items
      .filter(({ event }) => String(event).includes('pkce'))
      .map((one) => [one['event'], one['details']]);
  };

  it('logs people in without a challenge', async () => {
    assert.deepEqual(await answerTo(await codeFor(NONE), undefined), [200, undefined]);
  });

  it('gets nothing for a code without a challenge by sending a verifier (TOK-C08, CVE-2024-23647)', async () => {
    const verifier = openid.randomPKCECodeVerifier();
    assert.deepEqual(await answerTo(await codeFor(NONE), verifier), [400, 'invalid_grant']);
  });

  it('is held to a challenge that it sent all the same (CVE-2023-48228, CVE-2024-22258)', async () => {
    const verifier = openid.randomPKCECodeVerifier();
    const code_challenge = await openid.calculatePKCECodeChallenge(verifier);
    for (const wrong of [undefined, '', openid.randomPKCECodeVerifier()])
      assert.deepEqual(await answerTo(await codeFor({ code_challenge }), wrong), [400, 'invalid_grant']);
    assert.deepEqual(await answerTo(await codeFor({ code_challenge }), verifier), [200, undefined]);
    for (const code_challenge_method of ['plain', undefined]) {
      const location = (await send(gatehouse, authorizationRequest(client, { code_challenge_method }))).headers;
      assert.match(location.get('location') ?? '', /error=invalid_request/);
    }
  });

  it('is the only one: every other client has to send a challenge', async () => {
    const other = await registerApplication(gatehouse);
    const { headers } = await send(gatehouse, authorizationRequest(other, NONE));
    assert.match(headers.get('location') ?? '', /error=invalid_request/);
    await reachesLogin(gatehouse, authorizationRequest(client, NONE));
  });

  it('is one that authenticates and that people log in to, and the reason is said', async () => {
    const application = { redirect_uris: [REDIRECT_URI] };
    for (const [path, metadata] of [
      ['/pkce_exemption', { ...application, ...EXEMPT, token_endpoint_auth_method: 'none' }],
      ['/pkce_exemption', { grant_types: ['client_credentials'], ...EXEMPT }],
      ['/pkce_exemption', { ...application, pkce_exemption: true }],
      ['/pkce_exemption/reason', { ...application, pkce_exemption: {} }],
      ['/pkce_exemption/reason', { ...application, pkce_exemption: { reason: ' ' } }],
    ] as const) {
      const { status, body } = await admin.post('/clients', metadata);
      assert.equal(status, 400);
      assert.equal(body.errors[0]!.pointer, path);
    }
    const taken = await admin.patch(`/clients/${client.client_id}`, { token_endpoint_auth_method: 'none' });
    assert.equal(taken.status, 400);
  });

  it('is let off visibly: in the trail, and with a warning wherever the client is shown', async () => {
    const made = await admin.post('/clients', { redirect_uris: [REDIRECT_URI], ...EXEMPT });
    const warning = `This client may omit PKCE, so the server cannot detect a stolen or injected code: ${EXEMPT.pkce_exemption.reason}`;
    const path = `/clients/${made.body.client_id}`;
    const listed = (await admin.get('/clients?limit=200')).body.items.find(
      (one) => one.client_id === made.body.client_id,
    );
    for (const shown of [made.body, (await admin.get(path)).body, listed!])
      assert.deepEqual(shown['warnings'], [warning]);

    await admin.patch(path, { client_name: 'Portal' });
    const { body } = await admin.patch(path, { pkce_exemption: null });
    assert.deepEqual(body['warnings'], []);
    assert.deepEqual(await events(made.body.client_id), [
      ['client.pkce_exemption_ended', {}],
      ['client.pkce_exempted', { reason: EXEMPT.pkce_exemption.reason }],
    ]);
    const who = { client_id: made.body.client_id, client_secret: '' };
    const { headers } = await send(gatehouse, authorizationRequest(who, NONE));
    assert.match(headers.get('location') ?? '', /error=invalid_request/);
  });

  it('is let off by an admin alone', () => {
    assert.ok(ADMIN_ONLY_MEMBERS.includes('pkce_exemption'));
  });
});
