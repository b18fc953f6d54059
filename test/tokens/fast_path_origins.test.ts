import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { BothPaths, ofRefresh, type Form } from '../support/client/both_paths.ts';
import { basic, registerApplication } from '../support/client/code_flow.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const QUICK = { id_token_signed_response_alg: 'ES256' };

/** A token on the fast path may have been issued by another flow, or before the client's registration changed. */
describe('codes and refresh tokens of other flows or registrations, on the fast path', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
  });
  after(() => gatehouse.stop());

  it('renews what a device was given, and what was first taken with a key', async () => {
    const device = await registerDevice(gatehouse, { token_endpoint_auth_method: 'client_secret_basic', ...QUICK });
    const { resource } = gatehouse.demo;
    const connected = async (): Promise<Form> => {
      const asked = await requestDevice(gatehouse, device, { scope: 'openid notes:read', resource });
      await connectDevice(gatehouse, asked.user_code);
      const { refresh_token = '' } = await poll(gatehouse, device, asked.device_code);
      return { grant_type: 'refresh_token', refresh_token };
    };
    const first = await both.compare([await connected(), await connected()], device, 'device');
    assert.deepEqual([first.taken, first.lean.status], [true, 200]);
    const again = await both.compare([ofRefresh(first.ordinary), ofRefresh(first.lean)], device, 'device, again');
    assert.deepEqual([again.taken, again.lean.status], [true, 200]);

    const application = await registerApplication(gatehouse, QUICK);
    const key = await makeProofKey();
    const withKey = async (form: Form): Promise<Form> => {
      const response = await fetch(`${gatehouse.url}/token`, {
        method: 'POST',
        headers: {
          authorization: basic(application.client_id, application.client_secret),
          dpop: await prove(key, ['POST', `${gatehouse.issuer}/token`]),
        },
        body: new URLSearchParams(form),
      });
      const { token_type, refresh_token } = (await response.json()) as Record<string, string>;
      assert.equal(token_type, 'DPoP');
      return { grant_type: 'refresh_token', refresh_token: refresh_token! };
    };
    const [one, other] = await both.codes(application);
    const bare = await both.compare([await withKey(one), await withKey(other)], application, 'without the key');
    assert.deepEqual([bare.taken, bare.lean.body['token_type']], [true, 'Bearer']);
    const tied = await both.codes(application, { parameters: { dpop_jkt: key.thumbprint } });
    const refused = await both.compare(tied, application, 'tied to a key');
    assert.deepEqual([refused.taken, refused.lean.status], [false, 400]);
  });

  it('holds to what the client is registered for by now', async () => {
    const { resource } = gatehouse.demo;
    /** What is changed, whether the fast path still takes codes, and whether it still takes refresh tokens. */
    const changes: [object, boolean, boolean][] = [
      [{ id_token_signed_response_alg: 'RS256' }, true, true],
      [{ redirect_uris: ['https://app.example.com/else'] }, true, true],
      [{ scope: 'openid' }, true, true],
      [{ grant_types: ['authorization_code'] }, true, false],
      [{ resources: [{ resource, scopes: ['notes:write'] }] }, false, false],
      [{ grant_types: ['client_credentials'], redirect_uris: [] }, false, false],
      [{ dpop_bound_access_tokens: true }, false, false],
      [{ subject_type: 'pairwise' }, false, false],
      [{ token_endpoint_auth_method: 'none' }, false, false],
      [{ token_endpoint_auth_method: 'client_secret_post' }, false, false],
      [{ require_pushed_authorization_requests: true }, false, false],
    ];
    for (const [change, takesCodes, takesRefreshes] of changes) {
      const name = JSON.stringify(change);
      const client = await registerApplication(gatehouse, QUICK);
      const [codes, refreshes] = [await both.codes(client), await both.refreshes(client)];
      assert.equal((await admin.patch(`/clients/${client.client_id}`, change)).status, 200, name);
      assert.equal((await both.compare(codes, client, `${name}, code`)).taken, takesCodes, name);
      assert.equal((await both.compare(refreshes, client, `${name}, refresh`)).taken, takesRefreshes, name);
    }
  });

  it('takes every secret of the client that lives, and no other', async () => {
    const client = await registerApplication(gatehouse, QUICK);
    const secrets = `/clients/${client.client_id}/secrets`;
    const renew = async (overlap_seconds: number) => {
      const { status, body } = await admin.post(secrets, { overlap_seconds });
      assert.equal(status, 201);
      return { ...client, client_secret: String((body as Readonly<Record<string, unknown>>)['client_secret']) };
    };
    const second = await renew(60);
    for (const secret of [client, second])
      assert.equal((await both.compare(await both.codes(client), secret, 'both live')).taken, true);
    const third = await renew(0);
    for (const secret of [client, second])
      assert.equal((await both.compare(await both.codes(client), secret, 'ended')).lean.status, 401);
    assert.equal((await both.compare(await both.codes(client), third, 'the newest')).taken, true);
  });
});
