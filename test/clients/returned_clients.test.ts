import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest, send as sendRequest } from '../support/client/authorization_request.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource } from '../support/node/operator.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside } from '../support/network/outside_server.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import * as registration from '../support/client/registration.ts';
import { introspect, JWT_BEARER, makePolicy } from '../support/client/exchanged_tokens.ts';

/** A client that is a URL comes back under its old name when a request names it. */
describe('a client that was deleted and comes back under its name', () => {
  const CALLBACK = `https://${NAME}/callback`;
  const resource = 'https://reports.example.com';
  let gatehouse: Gatehouse;
  let document: object;
  let clientId: string;
  before(async () => {
    const outside = await startOutside((_request, response) =>
      response.setHeader('content-type', 'application/json').end(JSON.stringify(document)),
    );
    clientId = `https://${NAME}:${outside.port}/app.json`;
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: new URL(clientId).origin },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
  });
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  it('doesn’t bring its old tokens back to life (CVE-2026-8922)', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    document = {
      client_id: clientId,
      redirect_uris: [CALLBACK],
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [await exportJWK(publicKey)] },
    };
    await registration.makePolicy(gatehouse, {
      name: 'documents',
      client_id_metadata_documents: true,
      grant_types: ['authorization_code'],
    });
    await registerResource(gatehouse, 'reports');
    const reader = await registerClient(gatehouse, { resources: [], introspects: [resource] });
    const admin = await Admin.of(gatehouse);
    const outside = await makeIssuer(gatehouse.issuer);
    await trust(admin, outside);

    assert.equal(await ask(), 303);
    // no policy gives this grant type to clients that register themselves: an admin does
    const more = { grant_types: ['authorization_code', JWT_BEARER] };
    assert.equal((await admin.patch(`/clients/${encodeURIComponent(clientId)}`, more)).status, 200);
    await makePolicy(admin, 'assertion-policies', {
      client_id: clientId,
      issuer: outside.issuer,
      subject_account: 'external',
      resource,
      scopes: ['reports:read'],
    });
    const proof = new SignJWT({ jti: randomUUID() }).setProtectedHeader({ alg: 'ES256' });
    const assertion = await proof
      .setIssuer(clientId)
      .setSubject(clientId)
      .setAudience(gatehouse.issuer)
      .setIssuedAt()
      .setExpirationTime('1m')
      .sign(privateKey);
    const answer = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: JWT_BEARER,
        assertion: await outside.assert(),
        client_id: clientId,
        client_assertion: assertion,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      }),
    });
    const { access_token: token = '' } = (await answer.json()) as { access_token?: string };
    const active = async () => (await introspect(gatehouse, reader, token))['active'];
    assert.equal(await active(), true);

    assert.equal((await admin.delete(`/clients/${encodeURIComponent(clientId)}`)).status, 204);
    assert.equal(await active(), false);
    assert.equal(await ask(), 303, 'it is a client again');
    assert.equal(await active(), false);
  });

  /** An authorization request of a person who isn't logged in. */
  async function ask(): Promise<number> {
    const request = authorizationRequest({ client_id: clientId }, { redirect_uri: CALLBACK });
    return (await sendRequest(gatehouse, request)).status;
  }
});
