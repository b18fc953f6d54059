/** The MCP servers of examples/mcp/, as an operator runs them: a process and the document that Gatehouse makes for it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { postForm, requestToken, type Gatehouse } from '../node/gatehouse.ts';
import { registerClient } from '../node/operator.ts';
import { freeAddresses, type Environment, type Processes } from '../node/process.ts';
import { makeProofKey, prove } from './dpop.ts';
import { changePolicy } from './registration.ts';

export const RECIPES = join(import.meta.dirname, '../../../examples/mcp');
const PATIENCE_MILLISECONDS = 60_000;
const SCOPES = [
  { name: 'tools:read', description: 'Use tools that only read' },
  { name: 'tools:write', description: 'Use tools that change something' },
];

export interface RecipeServer {
  /** The server's URL, which is its resource identifier. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Registers the API, lets self-registered clients ask for it, and starts the server with the document about it. */
export async function startRecipe(
  gatehouse: Gatehouse,
  processes: Processes,
  [program, file]: readonly [program: string, file: string],
  environment: Environment = {},
): Promise<RecipeServer> {
  const { port } = await freeAddresses();
  const origin = `http://127.0.0.1:${port}`;
  const url = `${origin}/mcp`;
  const folder = await mkdtemp(join(tmpdir(), 'gatehouse-mcp-'));
  await writeFile(join(folder, 'oauth-protected-resource.json'), await registerApi(gatehouse, url));
  const started = processes.spawn(
    ['/bin/sh', '-c', 'cd "$1" && exec "$2" "$3"', 'recipe', folder, program, join(RECIPES, file)],
    { ...environment, PORT: String(port) },
  );
  const deadline = performance.now() + PATIENCE_MILLISECONDS;
  while (!(await answers(`${origin}/.well-known/oauth-protected-resource/mcp`))) {
    assert.ok(performance.now() < deadline, `${file} does not answer: ${JSON.stringify(started.output())}`);
    await delay(50);
  }
  return {
    url,
    async stop() {
      started.signalGroup('SIGKILL');
      await started.ended();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The steps of docs/mcp.md for the operator of an MCP server; resolves to the document (RFC 9728). */
async function registerApi(gatehouse: Gatehouse, identifier: string): Promise<string> {
  const made = await gatehouse.adminCall('POST', '/resources', { identifier, scopes: SCOPES });
  assert.equal(made.status, 201);
  const policy = await gatehouse.adminCall('GET', '/registration-policies/mcp');
  const { resources } = (await policy.json()) as { resources: object[] };
  const scopes = SCOPES.map(({ name }) => name);
  await changePolicy(gatehouse, 'mcp', { resources: [...resources, { resource: identifier, scopes }] });
  return (await gatehouse.adminCall('GET', `/resources/${encodeURIComponent(identifier)}/metadata`)).text();
}

/** Asserts that a server takes bearer tokens for itself alone, and demands the scope of a tool however it is called. */
export async function refusesForeignTokens(gatehouse: Gatehouse, { url }: RecipeServer): Promise<void> {
  const metadata = url.replace('/mcp', '/.well-known/oauth-protected-resource/mcp');
  const client = await registerClient(gatehouse, { resources: [{ resource: url, scopes: ['tools:read'] }] });
  const tokenRequest = { grant_type: 'client_credentials' };
  const DPoP = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/token`]);
  const answer = await postForm(`${gatehouse.url}/token`, tokenRequest, client, { DPoP });
  const { access_token: boundToKey } = (await answer.json()) as { access_token: string };
  const ofOtherApi = await requestToken(gatehouse.url, gatehouse.demo);
  for (const token of [undefined, 'nonsense', ofOtherApi, await gatehouse.adminToken(), boundToKey]) {
    const response = await send(url, INITIALIZE, token);
    const challenge = response.headers.get('www-authenticate') ?? '';
    assert.equal(response.status, 401);
    assert.ok(challenge.includes(`resource_metadata="${metadata}"`), challenge);
  }
  const token = await requestToken(gatehouse.url, client);
  assert.equal((await send(url, INITIALIZE, token)).status, 200);
  assert.equal((await send(url, CALL_WRITE, token)).status, 403);
  const batch = await send(url, [CALL_WRITE, CALL_WRITE], token);
  assert.ok(batch.status >= 400 && batch.status < 500, `status ${batch.status}`);
}

const CALL_WRITE = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'write' } };
const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1.0.0' } },
};

function send(url: string, message: object, token: string | undefined): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(message),
  });
}

async function answers(url: string): Promise<boolean> {
  return (await fetch(url).catch(() => undefined))?.ok === true;
}
