/** A small MCP server that wants tokens of ours, and an MCP client with its program's memory: the SDK does the rest. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { UnauthorizedError, type OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type {
  OAuthClientInformationMixed,
  OAuthClientMetadata,
  OAuthTokens,
} from '@modelcontextprotocol/sdk/shared/auth.js';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import type { Gatehouse } from '../node/gatehouse.ts';
import { Person } from '../person/person.ts';

export interface ProtectedMcpServer {
  /** Its address, which is its resource identifier. */
  readonly url: string;
  /** Whose tokens it has taken. */
  readonly subjects: string[];
  stop(): Promise<void>;
}

/** Verifies tokens by itself, and answers 401 with the way to its metadata (RFC 9728, 5.1). */
export async function startMcpServer(
  issuer: string,
  metadataOf: (resource: string) => Promise<object>,
): Promise<ProtectedMcpServer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref(); // a test that fails before it stops the server must end all the same
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const url = `${origin}/mcp`;
  const metadataUrl = `${origin}/.well-known/oauth-protected-resource/mcp`;
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
  const subjects: string[] = [];

  const subjectOf = async ({ headers }: IncomingMessage): Promise<string | undefined> => {
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
    if (token === undefined) return undefined;
    const verified = await jwtVerify(token, keys, { issuer, audience: url, typ: 'at+jwt' }).catch(() => undefined);
    return verified?.payload.sub;
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.url === '/.well-known/oauth-protected-resource/mcp') {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(await metadataOf(url)));
      return;
    }
    if (request.url !== '/mcp') {
      response.writeHead(404).end();
      return;
    }
    const subject = await subjectOf(request);
    if (subject === undefined) {
      response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${metadataUrl}"` }).end();
      return;
    }
    subjects.push(subject);
    const mcp = new McpServer({ name: 'clock', version: '1.0.0' });
    mcp.registerTool('whoami', { description: 'Says who asks' }, () => ({
      content: [{ type: 'text', text: subject }],
    }));
    const transport = new StreamableHTTPServerTransport({});
    await mcp.connect(transport);
    await transport.handleRequest(request, response);
  };
  server.on('request', (request, response) => void answer(request, response));
  return {
    url,
    subjects,
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

export interface Program extends OAuthClientProvider {
  information: OAuthClientInformationMixed | undefined;
  kept: OAuthTokens | undefined;
  /** Where it sent the person. */
  readonly sentTo: URL[];
}

/** What an MCP client's program brings along: it remembers what it is told, and a person sits before it. */
export function mcpProgram(
  person: Person,
  {
    redirectUrl = 'http://127.0.0.1:41234/callback',
    clientMetadataUrl,
  }: { redirectUrl?: string; clientMetadataUrl?: string } = {},
): Program & { code(): string } {
  let verifier = '';
  let code = '';
  const clientMetadata: OAuthClientMetadata = {
    client_name: 'MCP test client',
    redirect_uris: [redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  const program = {
    information: undefined as OAuthClientInformationMixed | undefined,
    kept: undefined as OAuthTokens | undefined,
    sentTo: [] as URL[],
    redirectUrl,
    clientMetadata,
    ...(clientMetadataUrl !== undefined && { clientMetadataUrl }),
    clientInformation: () => program.information,
    saveClientInformation(information: OAuthClientInformationMixed) {
      program.information = information;
    },
    tokens: () => program.kept,
    saveTokens(tokens: OAuthTokens) {
      program.kept = tokens;
    },
    async redirectToAuthorization(url: URL) {
      program.sentTo.push(url);
      code = (await person.authorize(url)).searchParams.get('code') ?? '';
    },
    saveCodeVerifier(codeVerifier: string) {
      verifier = codeVerifier;
    },
    codeVerifier: () => verifier,
    code: () => code,
  };
  return program;
}

/** From nothing but the MCP server's address to the answer of its tool. */
export async function askWhoIAm(
  server: ProtectedMcpServer,
  gatehouse: Gatehouse,
  options: Parameters<typeof mcpProgram>[1] = {},
): Promise<{ readonly who: string; readonly program: Program }> {
  const program = mcpProgram(new Person(gatehouse), options);
  const url = new URL(server.url);
  const first = new StreamableHTTPClientTransport(url, { authProvider: program });
  const refused = await new Client({ name: 'test', version: '1.0.0' }).connect(first).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refused instanceof UnauthorizedError)) throw refused ?? new Error('No token was asked for.');
  await first.finishAuth(program.code());
  return { who: await callWhoAmI(url, program), program };
}

export async function callWhoAmI(url: URL, program: Program): Promise<string> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(url, { authProvider: program });
  await client.connect(transport);
  const { content } = await client.callTool({ name: 'whoami' });
  await client.close();
  return (content as readonly { readonly text: string }[])[0]!.text;
}
