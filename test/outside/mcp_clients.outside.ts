import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { programOfVersion1, programOfVersion2 } from '../support/client/mcp_programs.ts';
import { startPythonProgram, type PythonProgram } from '../support/client/mcp_python.ts';
import { refusesForeignTokens, startRecipe, type RecipeServer } from '../support/client/mcp_recipes.ts';
import { pythonApp, WITHOUT_PYTHON } from '../support/network/outside_builds.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { NODE, Processes } from '../support/node/process.ts';
import { Person } from '../support/person/person.ts';

const LIBRARIES = { sdk: 'the MCP SDK of Python', fastmcp: 'FastMCP' } as const;
const SERVERS = { sdk: 'server_python_sdk.py', fastmcp: 'server_fastmcp.py' } as const;

describe('MCP programs and servers in Python', { skip: WITHOUT_PYTHON }, () => {
  const processes = new Processes();
  const servers: Record<string, RecipeServer> = {};
  const programs: PythonProgram[] = [];
  let command: string[];
  let gatehouse: Gatehouse;
  let documents: Outside;
  const document = (): string => `https://${NAME}:${documents.port}/oauth/client.json`;

  before(async () => {
    command = await pythonApp('mcp_program.py', 'mcp.txt');
    documents = await startOutside((_request, response) => {
      response.setHeader('content-type', 'application/json').end(
        JSON.stringify({
          client_id: document(),
          client_name: 'MCP test client',
          redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback'],
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
    for (const [library, file] of Object.entries(SERVERS))
      servers[library] = await startRecipe(gatehouse, processes, [command[0]!, file], { PYTHONDONTWRITEBYTECODE: '1' });
    servers['typescript'] = await startRecipe(gatehouse, processes, [NODE, 'server_v2.js']);
  });
  after(async () => {
    for (const program of programs) program.stop();
    for (const server of Object.values(servers)) await server.stop();
    await processes.end();
    await gatehouse.stop();
    closeOutside();
  });

  const start = (library: keyof typeof LIBRARIES, server: string, clientMetadataUrl?: string): PythonProgram => {
    const { url } = servers[server]!;
    const program = startPythonProgram(command, new Person(gatehouse), [library, url], clientMetadataUrl);
    programs.push(program);
    return program;
  };
  const scopesOf = (scope: string | null): readonly string[] =>
    (scope ?? '')
      .split(' ')
      .filter((name) => name !== 'offline_access')
      .sort();

  for (const [library, name] of Object.entries(LIBRARIES) as [keyof typeof LIBRARIES, string][]) {
    for (const server of ['sdk', 'fastmcp', 'typescript']) {
      it(`a program of ${name} registers with a server of ${server}, and steps up without losing a scope (FIELD-C3d)`, async () => {
        const program = start(library, server);
        const { answer, client_id } = await program.call('whoami');
        assert.match(answer, /^account_/);
        assert.match(client_id, /^client_/);
        const { answer: written, scope } = await program.call('write');
        assert.equal(written, 'written');
        assert.deepEqual(scopesOf(scope), ['tools:read', 'tools:write']);
        assert.equal((await program.call('whoami')).answer, answer);
        assert.deepEqual(
          program.requests.map(({ searchParams }) => scopesOf(searchParams.get('scope'))),
          [['tools:read'], ['tools:read', 'tools:write']],
        );
        for (const { searchParams } of program.requests)
          assert.equal(searchParams.get('resource'), servers[server]!.url);
      });
    }

    it(`a program of ${name} is known by its metadata document (FIELD-C3d)`, async () => {
      const program = start(library, library, document());
      const { answer, client_id } = await program.call('whoami');
      assert.match(answer, /^account_/);
      assert.equal(client_id, document());
    });
  }

  it('a program of FastMCP whose client was removed registers anew by itself (FIELD-C3c)', async () => {
    const program = start('fastmcp', 'fastmcp');
    const { client_id: removed } = await program.call('whoami');
    assert.equal((await gatehouse.adminCall('DELETE', `/clients/${removed}`)).status, 204);
    const { answer, client_id } = await program.call('write');
    assert.equal(answer, 'written');
    assert.notEqual(client_id, removed);
  });

  for (const library of ['sdk', 'fastmcp']) {
    it(`a server of ${library} takes bearer tokens for itself alone (FIELD-C3d)`, async () => {
      await refusesForeignTokens(gatehouse, servers[library]!);
    });

    it(`programs of both TypeScript SDKs use a server of ${library}, and step up (FIELD-C3d)`, async () => {
      for (const startProgram of [programOfVersion1, programOfVersion2]) {
        const program = startProgram(servers[library]!.url, new Person(gatehouse));
        assert.match(await program.call('whoami'), /^account_/);
        assert.equal(await program.call('write'), 'written');
        assert.deepEqual(scopesOf(program.scopes().join(' ')), ['tools:read', 'tools:write']);
      }
    });
  }
});
