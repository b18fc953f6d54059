import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import * as openid from 'openid-client';
import {
  redeem,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
} from '../support/client/code_flow.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('the claims of an ID token', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const kinds = [
    ['to a client with a secret', registerApplication],
    ['to a public client', registerPublicApplication],
  ] as const;
  for (const scope of ['openid email', 'openid email notes:read']) {
    for (const [path, make] of kinds) {
      it(`are those of openid alone for a client that chose minimal, for '${scope}' ${path} (FIELD-C15)`, async () => {
        const client = await make(gatehouse, { id_token_claims: 'minimal' });
        const { config, tokens } = await signIn(gatehouse, client, { scope });
        const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
        for (const { claims, access_token } of [tokens, refreshed]) {
          const { email, auth_time, acr, sub } = claims.call(
            access_token === tokens.access_token ? tokens : refreshed,
          )!;
          assert.deepEqual([email, typeof auth_time, typeof acr], [undefined, 'number', 'string']);
          assert.equal((await openid.fetchUserInfo(config, access_token, sub)).email, gatehouse.account.email);
        }
      });

      it(`are those of all scopes for a client that chose nothing, for '${scope}' ${path} (FIELD-C15)`, async () => {
        const { tokens } = await signIn(gatehouse, await make(gatehouse), { scope });
        assert.equal(tokens.claims()!.email, gatehouse.account.email);
      });
    }
  }

  it('are those of openid alone on the fast path, too (FIELD-C15)', async () => {
    const client = await registerApplication(gatehouse, { id_token_claims: 'minimal' });
    const answers = async () => {
      const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
      return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
    };
    const earlier = await answers();
    const callback = await requestCode(gatehouse, client, { scope: 'openid email notes:read' });
    const body = (await (await redeem(gatehouse.url, client, callback)).json()) as { id_token: string };
    assert.equal(await answers(), earlier + 1);
    const { email, sub } = decodeJwt(body.id_token);
    assert.deepEqual([email, typeof sub], [undefined, 'string']);
  });

  it('are, for a client that chose minimal, also those that it asks for one by one (FIELD-C15)', async () => {
    const client = await registerApplication(gatehouse, { id_token_claims: 'minimal' });
    const claims = JSON.stringify({ id_token: { email_verified: null } });
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid email', parameters: { claims } });
    const { email, email_verified } = tokens.claims()!;
    assert.deepEqual([email, typeof email_verified], [undefined, 'boolean']);
  });

  it('are chosen by a client that registers itself, too; for userinfo_audience it needs an admin (FIELD-C15)', async () => {
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const { status, body } = await register(gatehouse, { id_token_claims: 'minimal' });
    assert.deepEqual([status, body['id_token_claims']], [201, 'minimal']);
    const refused = await register(gatehouse, { userinfo_audience: false });
    assert.equal(refused.status, 400);
    assert.match(String(refused.body.error_description), /userinfo_audience can only be set by an admin/);
  });
});
