import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { askWhoIAm, callWhoAmI, startMcpServer, type ProtectedMcpServer } from '../support/client/mcp.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { changePolicy, type Json } from '../support/client/registration.ts';

const SCOPES = [
  { name: 'tools:read', description: 'Use tools that only read' },
  { name: 'tools:write', description: 'Use tools that change something' },
];

for (const path of ['', '/id']) {
  describe(`an MCP client of the official SDK, and a server ${path === '' ? 'at the root of its host' : 'whose issuer has a path'},`, () => {
    let gatehouse: Gatehouse;
    let mcp: ProtectedMcpServer;
    let documents: Outside;
    const document = (): string => `https://${NAME}:${documents.port}/oauth/client.json`;
    before(async () => {
      documents = await startOutside((_request, response) => {
        response.setHeader('content-type', 'application/json').end(
          JSON.stringify({
            client_id: document(),
            client_name: 'MCP test client',
            redirect_uris: ['http://127.0.0.1/callback'],
            grant_types: ['authorization_code', 'refresh_token'],
            token_endpoint_auth_method: 'none',
          }),
        );
      });
      gatehouse = await startGatehouse({
        path,
        environment: { GATEHOUSE_PROFILE: 'mcp', GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${documents.port}` },
        resolve: async () => [{ address: PUBLIC, family: 4 }],
        ca: CA,
      });
      mcp = await startMcpServer(gatehouse.issuer, async (resource) => {
        const answer = await gatehouse.adminCall('GET', `/resources/${encodeURIComponent(resource)}/metadata`);
        return (await answer.json()) as object;
      });
      const made = await gatehouse.adminCall('POST', '/resources', { identifier: mcp.url, scopes: SCOPES });
      assert.equal(made.status, 201);
      const resources = [{ resource: mcp.url, scopes: SCOPES.map(({ name }) => name) }];
      await changePolicy(gatehouse, 'mcp', { resources });
    });
    after(async () => {
      await mcp.stop();
      await gatehouse.stop();
      closeOutside();
    });

    it('find one another: the client registers, logs its person in, calls a tool and renews its token', async () => {
      const { who, program } = await askWhoIAm(mcp, gatehouse);
      assert.match(who, /^account_/);
      const { client_id: clientId = '' } = program.information ?? {};
      assert.match(clientId, /^client_/);
      assert.equal(program.sentTo[0]?.searchParams.get('resource'), mcp.url);
      const before_ = program.kept;
      assert.equal(await auth(program, { serverUrl: mcp.url }), 'AUTHORIZED');
      assert.notEqual(program.kept?.access_token, before_?.access_token);
      assert.notEqual(program.kept?.refresh_token, before_?.refresh_token);
      assert.equal(await callWhoAmI(new URL(mcp.url), program), who);
      assert.equal(program.sentTo.length, 1, 'the person was asked once');
    });

    it('find one another by the client’s metadata document: nothing is registered, and the port is its own', async () => {
      const options = { clientMetadataUrl: document(), redirectUrl: 'http://127.0.0.1:51234/callback' };
      const { who, program } = await askWhoIAm(mcp, gatehouse, options);
      assert.match(who, /^account_/);
      assert.equal(program.information?.client_id, document());
      assert.equal(await auth(program, { serverUrl: mcp.url }), 'AUTHORIZED');
      assert.equal(await callWhoAmI(new URL(mcp.url), program), who);
      const client = (await (
        await gatehouse.adminCall('GET', `/clients/${encodeURIComponent(document())}`)
      ).json()) as Json;
      assert.equal((client['registration'] as Json)['source'], 'metadata_document');
      assert.equal(documents.requests.length, 1, 'the document is not asked for at each step');
    });

    it('agree also where the MCP server names no scope: the person is asked about all that the policy gives', async () => {
      const silent = await startMcpServer(gatehouse.issuer, async (resource) => {
        const answer = await gatehouse.adminCall('GET', `/resources/${encodeURIComponent(resource)}/metadata`);
        const { scopes_supported: _, ...rest } = (await answer.json()) as Json;
        return rest;
      });
      await gatehouse.adminCall('POST', '/resources', { identifier: silent.url, scopes: SCOPES });
      const resources = [mcp, silent].map(({ url }) => ({ resource: url, scopes: SCOPES.map(({ name }) => name) }));
      await changePolicy(gatehouse, 'mcp', { resources });
      const { who, program } = await askWhoIAm(silent, gatehouse);
      assert.equal(program.sentTo[0]?.searchParams.get('scope'), null);
      assert.match(who, /^account_/);
      assert.equal(program.kept?.scope, 'tools:read tools:write');
      await silent.stop();
    });

    it('get a token for this server and no other, and only with the scopes of the policy', async () => {
      const { program } = await askWhoIAm(mcp, gatehouse);
      const claims = JSON.parse(Buffer.from(program.kept!.access_token.split('.')[1]!, 'base64url').toString()) as Json;
      assert.equal(claims['aud'], mcp.url);
      assert.equal(claims['scope'], 'tools:read tools:write');
    });
  });
}
