/** An application that people log in to: a public client of a Gatehouse, with a callback of its own. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Gatehouse } from '../node/gatehouse.ts';

export interface Application {
  readonly clientId: string;
  /** On `localhost`, which is another site than the 127.0.0.1 of a Gatehouse. */
  readonly origin: string;
  readonly redirectUri: string;
  /** An authorization request of its own; parameters that are given win. */
  authorizationUrl(parameters?: Readonly<Record<string, string>>): string;
  /** Redeems the code that the browser brought to the callback. */
  redeem(callback: string): Promise<{ readonly status: number; readonly body: Readonly<Record<string, unknown>> }>;
  stop(): Promise<void>;
}

export async function startApplication(
  gatehouse: Gatehouse,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<Application> {
  const server = createServer((request, response) => {
    const opener = request.url?.startsWith('/opener') ? '<p>Opener</p>' : '<h1>Back at the application</h1>';
    response.setHeader('content-type', 'text/html').end(`<!doctype html><title>Application</title>${opener}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref(); // a test that fails before it stops the application must end all the same
  const origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  const redirectUri = `${origin}/callback`;
  const clientId = await register(gatehouse, {
    client_name: 'Notes & Co',
    client_uri: 'https://notes.example',
    policy_uri: 'https://notes.example/privacy',
    tos_uri: 'https://notes.example/terms',
    redirect_uris: [redirectUri],
    post_logout_redirect_uris: [`${origin}/bye`],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    resources: [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }],
    ...metadata,
  });
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  return {
    clientId,
    origin,
    redirectUri,
    authorizationUrl: (parameters = {}) => {
      const request = {
        client_id: clientId,
        response_type: 'code',
        redirect_uri: redirectUri,
        scope: 'openid',
        state: 's',
        code_challenge: challenge,
        code_challenge_method: 'S256',
      };
      return `${gatehouse.issuer}/authorize?${new URLSearchParams({ ...request, ...parameters })}`;
    },
    async redeem(callback) {
      const code = new URL(callback).searchParams.get('code') ?? '';
      const form = {
        grant_type: 'authorization_code',
        client_id: clientId,
        redirect_uri: redirectUri,
        code,
        code_verifier: verifier,
      };
      const response = await fetch(`${gatehouse.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function register(gatehouse: Gatehouse, metadata: Readonly<Record<string, unknown>>): Promise<string> {
  const response = await gatehouse.adminCall('POST', '/clients', metadata);
  const body = (await response.json()) as { client_id?: string };
  if (!body.client_id) throw new Error(`No client: ${response.status} ${JSON.stringify(body)}`);
  return body.client_id;
}
