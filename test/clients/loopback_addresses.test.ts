import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import * as openid from 'openid-client';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest, reachesLogin, staysHere } from '../support/client/authorization_request.ts';
import { configure, REDIRECT_URI, registerPublicApplication } from '../support/client/code_flow.ts';
import { startGatehouse } from '../support/node/gatehouse.ts';

const LOOPBACK = ['http://127.0.0.1:9400', 'http://[::1]:9400', 'http://localhost:9400'];
const ELSEWHERE = ['http://localhost.example:9400', 'http://app.localhost:9400', 'http://10.0.0.1:9400'];

const application = { redirect_uris: [REDIRECT_URI] };
const MEMBERS: Readonly<Record<string, (url: string) => object>> = {
  redirect_uris: (url) => ({ redirect_uris: [url] }),
  post_logout_redirect_uris: (url) => ({ ...application, post_logout_redirect_uris: [url] }),
  backchannel_logout_uri: (url) => ({ ...application, backchannel_logout_uri: url }),
  jwks_uri: (url) => ({ ...application, token_endpoint_auth_method: 'private_key_jwt', jwks_uri: url }),
  backchannel_client_notification_endpoint: (url) => ({
    grant_types: [CIBA],
    backchannel_token_delivery_mode: 'ping',
    backchannel_client_notification_endpoint: url,
  }),
};

describe('an address of loopback', () => {
  it('is localhost as well as 127.0.0.1 and [::1], in each member of a client (FIELD-C16)', async (t) => {
    const gatehouse = await startGatehouse();
    t.after(() => gatehouse.stop());
    const admin = await Admin.of(gatehouse);
    for (const [member, metadata] of Object.entries(MEMBERS)) {
      for (const origin of LOOPBACK) {
        const { status, text } = await admin.post('/clients', metadata(`${origin}/path`));
        assert.equal(status, 201, `${member} ${origin}: ${text}`);
      }
      for (const origin of ELSEWHERE) {
        const { status, body } = await admin.post('/clients', metadata(`${origin}/path`));
        assert.equal(status, 400, `${member} ${origin}`);
        assert.match(body.errors[0]!.pointer!, new RegExp(`^/${member}`));
      }
    }
    const issuer = { issuer: 'https://ci.example.com', display_name: 'CI', algs: ['ES256'], purposes: ['jwt_bearer'] };
    for (const [index, origin] of LOOPBACK.entries()) {
      const trusted = { ...issuer, issuer: `${issuer.issuer}/${index}`, jwks_uri: `${origin}/jwks` };
      const { status, text } = await admin.post('/trusted-issuers', trusted);
      assert.equal(status, 201, `${origin}: ${text}`);
    }
  });

  it('has a free port for a native application, also as localhost (FIELD-C16)', async (t) => {
    const gatehouse = await startGatehouse();
    t.after(() => gatehouse.stop());
    for (const host of ['127.0.0.1', '[::1]', 'localhost']) {
      const native = await registerPublicApplication(gatehouse, {
        application_type: 'native',
        redirect_uris: [`http://${host}/callback`],
      });
      await reachesLogin(gatehouse, authorizationRequest(native, { redirect_uri: `http://${host}:54321/callback` }));
      for (const other of ['127.0.0.1', 'localhost'].filter((one) => one !== host))
        await staysHere(gatehouse, authorizationRequest(native, { redirect_uri: `http://${other}:54321/callback` }));
    }
  });

  it('is where the server fetches keys from if the operator allows that origin (FIELD-C16)', async (t) => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one' }] });
    const server = createServer((_, response) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(keys),
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
    const gatehouse = await startGatehouse({ environment: { GATEHOUSE_EGRESS_ALLOW: origin } });
    t.after(() => gatehouse.stop());
    const admin = await Admin.of(gatehouse);
    const { body } = await admin.post('/clients', {
      grant_types: ['client_credentials'],
      resources: [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: `${origin}/jwks`,
    });
    const signing = openid.PrivateKeyJwt({ key: privateKey, kid: 'one' });
    const config = await configure(gatehouse, { client_id: body.client_id, client_secret: '' }, signing);
    const tokens = await openid.clientCredentialsGrant(config, { resource: gatehouse.demo.resource });
    assert.equal(tokens.token_type, 'bearer');
  });
});
