import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { programOfVersion1, programOfVersion2, type McpProgram } from '../support/client/mcp_programs.ts';
import { RECIPES, refusesForeignTokens, startRecipe, type RecipeServer } from '../support/client/mcp_recipes.ts';
import type { Json } from '../support/client/registration.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { NODE, Processes } from '../support/node/process.ts';
import { Person } from '../support/person/person.ts';

const PAGE = join(import.meta.dirname, '../../docs/mcp.md');
const PROGRAMS = { 'version 2': programOfVersion2, 'version 1': programOfVersion1 };
const SERVERS = { 'version 2': 'server_v2.js', 'version 1': 'server_v1.js' };

describe('the recipes of docs/mcp.md', () => {
  const examples = ['server_v2.js', 'server_v1.js', 'server_python_sdk.py', 'server_fastmcp.py'];
  for (const file of [...examples, 'step_up.py', 'step_up_v1.js']) {
    it(`contain examples/mcp/${file} word for word (FIELD-C3d)`, async () => {
      assert.ok((await readFile(PAGE, 'utf8')).includes(await readFile(join(RECIPES, file), 'utf8')));
    });
  }
});

describe('MCP programs and servers of the TypeScript SDKs', () => {
  const processes = new Processes();
  const servers: Record<string, RecipeServer> = {};
  let gatehouse: Gatehouse;
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
      environment: { GATEHOUSE_PROFILE: 'mcp', GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${documents.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    for (const [version, file] of Object.entries(SERVERS))
      servers[version] = await startRecipe(gatehouse, processes, [NODE, file]);
  });
  after(async () => {
    for (const server of Object.values(servers)) await server.stop();
    await processes.end();
    await gatehouse.stop();
    closeOutside();
  });

  const scopesAsked = ({ requests }: McpProgram): (readonly string[])[] =>
    requests.map((url) => (url.searchParams.get('scope') ?? '').split(' ').filter((name) => name !== 'offline_access'));

  for (const version of Object.keys(SERVERS)) {
    it(`a server of ${version} takes bearer tokens for itself alone (FIELD-C3d)`, async () => {
      await refusesForeignTokens(gatehouse, servers[version]!);
    });
  }

  for (const serverVersion of Object.keys(SERVERS))
    for (const [version, start] of Object.entries(PROGRAMS)) {
      const both = `a program of ${version} and a server of ${serverVersion}`;

      it(`${both}: the program registers, begins with the least scope, and steps up without losing it (FIELD-C3d)`, async () => {
        const { url } = servers[serverVersion]!;
        const program = start(url, new Person(gatehouse));
        assert.match(await program.call('whoami'), /^account_/);
        assert.match(program.clientId() ?? '', /^client_/);
        assert.deepEqual(scopesAsked(program), [['tools:read']]);
        assert.equal(await program.call('write'), 'written');
        assert.deepEqual(scopesAsked(program), [['tools:read'], ['tools:read', 'tools:write']]);
        assert.deepEqual(
          program.scopes().filter((name) => name !== 'offline_access'),
          ['tools:read', 'tools:write'],
        );
        await program.renew();
        assert.match(await program.call('whoami'), /^account_/);
        assert.equal(program.requests.length, 2, 'the person was asked twice');
        for (const request of program.requests) assert.equal(request.searchParams.get('resource'), url);
      });

      it(`${both}: the program is known by its metadata document, also when it steps up (FIELD-C3d)`, async () => {
        const { url } = servers[serverVersion]!;
        const program = start(url, new Person(gatehouse), { clientMetadataUrl: document() });
        assert.equal(await program.call('write'), 'written');
        assert.equal(program.clientId(), document());
        assert.match(await program.call('whoami'), /^account_/);
        const client = await gatehouse.adminCall('GET', `/clients/${encodeURIComponent(document())}`);
        const { registration } = (await client.json()) as Json;
        assert.equal((registration as Json)['source'], 'metadata_document');
      });
    }

  for (const [version, start] of Object.entries(PROGRAMS)) {
    it(`a program of ${version} whose client was removed registers anew when it renews its token (FIELD-C3c)`, async () => {
      const program = start(servers['version 2']!.url, new Person(gatehouse));
      await program.call('whoami');
      const removed = program.clientId()!;
      assert.equal((await gatehouse.adminCall('DELETE', `/clients/${removed}`)).status, 204);
      await program.renew();
      assert.notEqual(program.clientId(), removed);
      assert.match(await program.call('whoami'), /^account_/);
    });
  }
});
