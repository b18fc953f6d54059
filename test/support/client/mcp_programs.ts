/** Programs that use an MCP server with the official SDKs, of version 1 and version 2, as their users start them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import * as v2 from '@modelcontextprotocol/client';
import { auth, UnauthorizedError, type OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport, StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Person } from '../person/person.ts';
import { RECIPES } from './mcp_recipes.ts';

export interface McpProgram {
  /** Calls a tool; on the way the person logs in and allows what the server demands. Resolves to the tool's text. */
  call(tool: string): Promise<string>;
  /** Renews its token, or has the person log in again if it can't. */
  renew(): Promise<void>;
  clientId(): string | undefined;
  /** The scopes of its token, sorted. */
  scopes(): readonly string[];
  /** The authorization requests that it sent the person with. */
  readonly requests: readonly URL[];
}

export interface McpProgramOptions {
  readonly clientMetadataUrl?: string | undefined;
}

const REDIRECT_URL = 'http://127.0.0.1:41234/callback';
const ATTEMPTS_AT_MOST = 4;
const PROGRAM = { name: 'test', version: '1.0.0' };

interface StepUpExample {
  stepUp(provider: OAuthClientProvider, serverUrl: string, answer: Response): Promise<'AUTHORIZED' | 'REDIRECT'>;
}

export function programOfVersion2(url: string, person: Person, options: McpProgramOptions = {}): McpProgram {
  const memory = remember(person, options);
  let discovery: v2.OAuthDiscoveryState | undefined;
  const provider: v2.OAuthClientProvider = {
    ...memory.provider,
    discoveryState: () => discovery,
    saveDiscoveryState(found) {
      discovery = found;
    },
  };
  const renew = async (): Promise<void> => {
    if ((await v2.auth(provider, { serverUrl: url })) === 'AUTHORIZED') return;
    const { code = '', iss } = Object.fromEntries(memory.callback());
    await v2.auth(provider, { serverUrl: url, authorizationCode: code, ...(iss !== undefined && { iss }) });
  };
  return memory.program(renew, async (tool) => {
    const client = new v2.Client(PROGRAM, { versionNegotiation: { mode: 'auto' } });
    const transport = new v2.StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    try {
      await client.connect(transport);
      return textOf(await client.callTool({ name: tool }));
    } catch (error) {
      if (!(error instanceof v2.UnauthorizedError)) throw error;
      await transport.finishAuth(memory.callback());
      return undefined;
    } finally {
      await client.close();
    }
  });
}

export function programOfVersion1(url: string, person: Person, options: McpProgramOptions = {}): McpProgram {
  const memory = remember(person, options);
  const { provider } = memory;
  const code = (): string => memory.callback().get('code') ?? '';
  const renew = async (): Promise<void> => {
    if ((await auth(provider, { serverUrl: url })) === 'AUTHORIZED') return;
    await auth(provider, { serverUrl: url, authorizationCode: code() });
  };
  return memory.program(renew, async (tool) => {
    let refused: Response | undefined;
    const client = new Client(PROGRAM);
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      authProvider: provider,
      fetch: async (...request) => {
        const answer = await fetch(...request);
        if (answer.status === 403) refused = answer.clone();
        return answer;
      },
    });
    try {
      await client.connect(transport);
      return textOf(await client.callTool({ name: tool }));
    } catch (error) {
      if (error instanceof UnauthorizedError) await transport.finishAuth(code());
      else if (error instanceof StreamableHTTPError && error.code === 403) {
        const { stepUp } = (await import(join(RECIPES, 'step_up_v1.js'))) as StepUpExample;
        assert.equal(await stepUp(provider, url, refused!), 'REDIRECT');
        assert.equal(await auth(provider, { serverUrl: url, authorizationCode: code() }), 'AUTHORIZED');
      } else throw error;
      return undefined;
    } finally {
      await client.close();
    }
  });
}

interface Tokens {
  readonly access_token: string;
  readonly token_type: string;
  readonly scope?: string | undefined;
}

/** What a program remembers between its calls, in the form that both SDKs ask for. */
function remember(person: Person, { clientMetadataUrl }: McpProgramOptions) {
  let information: { readonly client_id: string } | undefined;
  let tokens: Tokens | undefined;
  let verifier = '';
  let callback = new URLSearchParams();
  const requests: URL[] = [];
  const provider = {
    redirectUrl: REDIRECT_URL,
    clientMetadata: {
      client_name: 'MCP test client',
      redirect_uris: [REDIRECT_URL],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    ...(clientMetadataUrl !== undefined && { clientMetadataUrl }),
    clientInformation: () => information,
    saveClientInformation(saved: { readonly client_id: string }) {
      information = saved;
    },
    tokens: () => tokens,
    saveTokens(saved: Tokens) {
      tokens = saved;
    },
    invalidateCredentials(what: string) {
      if (what === 'all' || what === 'client') information = undefined;
      if (what === 'all' || what === 'tokens') tokens = undefined;
    },
    async redirectToAuthorization(request: URL) {
      requests.push(request);
      callback = (await person.authorize(request)).searchParams;
    },
    saveCodeVerifier(saved: string) {
      verifier = saved;
    },
    codeVerifier: () => verifier,
  };
  const program = (renew: () => Promise<void>, attempt: (tool: string) => Promise<string | undefined>): McpProgram => ({
    renew,
    async call(tool) {
      for (let attempts = 0; attempts < ATTEMPTS_AT_MOST; attempts++) {
        const answer = await attempt(tool);
        if (answer !== undefined) return answer;
      }
      throw new Error(`The person was asked again and again: ${requests.join(' ')}`);
    },
    clientId: () => information?.client_id,
    scopes: () => (tokens?.scope ?? '').split(' ').sort(),
    requests,
  });
  return { provider, callback: () => callback, program };
}

function textOf(result: object): string {
  return (result as { readonly content: readonly { readonly text: string }[] }).content[0]!.text;
}
