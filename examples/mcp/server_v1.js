import { readFileSync } from 'node:fs';
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const metadata = JSON.parse(readFileSync('oauth-protected-resource.json', 'utf8'));
const { resource, authorization_servers } = metadata;
const [issuer] = authorization_servers;
const metadataUrl = new URL('/.well-known/oauth-protected-resource/mcp', resource);
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));

async function verifyAccessToken(token) {
  const { payload } = await jwtVerify(token, keys, { issuer, audience: resource, typ: 'at+jwt' }).catch((error) => {
    // without the keys this is no fault of the token: 500, not 401
    throw /^ERR_(JWS|JWT|JWKS_NO)/.test(error.code) ? new InvalidTokenError(error.message) : error;
  });
  if (payload.cnf) throw new InvalidTokenError('the token is bound to a key');
  const { client_id: clientId, scope = '', exp: expiresAt, sub } = payload;
  return { token, clientId, scopes: scope.split(' '), expiresAt, extra: { sub } };
}
const authenticate = (...requiredScopes) =>
  requireBearerAuth({ verifier: { verifyAccessToken }, requiredScopes, resourceMetadataUrl: metadataUrl.href });
const SCOPES_OF_TOOLS = { write: ['tools:read', 'tools:write'] };

function makeServer({ extra }) {
  const server = new McpServer({ name: 'example', version: '1.0.0' });
  const say = (text) => ({ content: [{ type: 'text', text }] });
  server.registerTool('whoami', { description: 'Says who asks' }, () => say(extra.sub));
  server.registerTool('write', { description: 'Changes something' }, () => say('written'));
  return server;
}

function demandScopes(request, response, next) {
  const calls = [request.body].flat().filter((message) => message?.method === 'tools/call');
  const scopes = calls.flatMap(({ params }) => SCOPES_OF_TOOLS[params?.name] ?? []);
  return authenticate(...scopes)(request, response, next);
}

async function serve(request, response) {
  const transport = new StreamableHTTPServerTransport({});
  await makeServer(request.auth).connect(transport);
  await transport.handleRequest(request, response, request.body);
}

const app = express();
app.get(metadataUrl.pathname, (_request, response) => response.json(metadata));
app.post('/mcp', authenticate('tools:read'), express.json(), demandScopes, (request, response, next) => {
  serve(request, response).catch(next);
});
app.listen(process.env.PORT ?? 8000);
