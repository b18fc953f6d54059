/** Introspects (RFC 7662) and revokes (RFC 7009) JWT access tokens on the fast path (fast_path.ts). */
import type { IncomingHttpHeaders } from 'node:http';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { AccessTokenStates } from '../tokens/access_token_state.ts';
import type { Revocations } from '../tokens/revocation.ts';
import { introspectionResponse } from '../tokens/jwt_introspection.ts';
import type { Usernames } from '../tokens/userinfo_tokens.ts';
import { originOfRequest, type FastPathEndpoint } from './fast_path.ts';
import { readTokenQuestion, type PlainTokenQuestion } from './plain_request.ts';

/** Values of `Accept` that ask for JSON. Any other value may ask for a signed response (RFC 9701). */
const PLAIN_ACCEPT = new Set([undefined, '*/*', 'application/json', 'application/json, */*']);

export function fastIntrospection(
  path: string,
  tokens: AccessTokenStates,
  usernames: Usernames,
): FastPathEndpoint<PlainTokenQuestion> {
  return {
    path,
    read: ({ accept, authorization }: IncomingHttpHeaders, body) =>
      PLAIN_ACCEPT.has(accept) ? readTokenQuestion(authorization, body) : undefined,
    serves: () => true,
    async answer(client: ClientWithSecrets, { token }, { now }: RequestContext) {
      const claims = await tokens.inspect(token, now);
      return JSON.stringify(await introspectionResponse(claims, client, usernames));
    },
  };
}

export function fastRevocation(
  path: string,
  tokens: AccessTokenStates,
  revocations: Revocations,
): FastPathEndpoint<PlainTokenQuestion> {
  return {
    path,
    read: ({ authorization }: IncomingHttpHeaders, body) => readTokenQuestion(authorization, body),
    serves: () => true,
    async answer(client: ClientWithSecrets, { token }, context: RequestContext) {
      const claims = await tokens.verify(token, context.now);
      // an invalid or expired token needs no revocation (RFC 7009, 2.2)
      if (!claims) return '';
      if (claims.client_id !== client.clientId) return undefined;
      await revocations.revoke({ claims, origin: originOfRequest(client.clientId, context), now: context.now });
      return '';
    },
  };
}
