import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import {
  createMcpHandler,
  McpServer,
  OAuthError,
  requireBearerAuth,
  requireScopes,
} from '@modelcontextprotocol/server';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const metadata = JSON.parse(readFileSync('oauth-protected-resource.json', 'utf8'));
const { resource, authorization_servers } = metadata;
const [issuer] = authorization_servers;
const metadataUrl = new URL('/.well-known/oauth-protected-resource/mcp', resource);
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));

async function verifyAccessToken(token) {
  const { payload } = await jwtVerify(token, keys, { issuer, audience: resource, typ: 'at+jwt' }).catch((error) => {
    // without the keys this is no fault of the token: 500, not 401
    throw /^ERR_(JWS|JWT|JWKS_NO)/.test(error.code) ? new OAuthError('invalid_token', error.message) : error;
  });
  if (payload.cnf) throw new OAuthError('invalid_token', 'the token is bound to a key');
  const { client_id: clientId, scope = '', exp: expiresAt, sub } = payload;
  return { token, clientId, scopes: scope.split(' '), expiresAt, extra: { sub } };
}
const authenticate = requireBearerAuth({
  verifier: { verifyAccessToken },
  requiredScopes: ['tools:read'],
  resourceMetadataUrl: metadataUrl.href,
});

const mcp = createMcpHandler(({ authInfo }) => {
  const server = new McpServer({ name: 'example', version: '1.0.0' });
  const say = (text) => ({ content: [{ type: 'text', text }] });
  server.registerTool('whoami', { description: 'Says who asks' }, () => say(authInfo.extra.sub));
  server.registerTool('write', { description: 'Changes something', scopeChallenge: requireScopes('tools:write') }, () =>
    say('written'),
  );
  return server;
});

async function answer(request) {
  const { pathname } = new URL(request.url);
  if (pathname === metadataUrl.pathname) return Response.json(metadata);
  if (pathname !== '/mcp') return new Response('Not found', { status: 404 });
  const authInfo = await authenticate(request);
  return authInfo instanceof Response ? authInfo : mcp.fetch(request, { authInfo });
}
const handle = toNodeHandler({ fetch: answer });
createServer((request, response) => void handle(request, response)).listen(process.env.PORT ?? 8000);
