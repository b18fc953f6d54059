/** Introspection and revocation of JWT access tokens on lean paths (front.ts). */
import type { IncomingHttpHeaders } from 'node:http';
import type { ClientWithSecrets } from '../../clients/client.ts';
import type { RequestContext } from '../../http/request_context.ts';
import type { AccessTokens } from '../access_tokens.ts';
import type { Revocations } from '../revocations.ts';
import { tellAbout } from '../structured_tokens.ts';
import { originOf, type LeanPath } from './front.ts';
import { readTokenQuestion, type LeanTokenQuestion } from './request.ts';

/** Anything else may mean that the answer is to be signed (RFC 9701). */
const PLAIN_ACCEPT = new Set([undefined, '*/*', 'application/json', 'application/json, */*']);

export function leanIntrospection(path: string, tokens: AccessTokens): LeanPath<LeanTokenQuestion> {
  return {
    path,
    read: ({ accept, authorization }: IncomingHttpHeaders, body) =>
      PLAIN_ACCEPT.has(accept) ? readTokenQuestion(authorization, body) : undefined,
    serves: () => true,
    async answer(client: ClientWithSecrets, { token }, { now }: RequestContext) {
      const claims = await tokens.inspect(token, now);
      return JSON.stringify(tellAbout(claims, client));
    },
  };
}

export function leanRevocation(
  path: string,
  tokens: AccessTokens,
  revocations: Revocations,
): LeanPath<LeanTokenQuestion> {
  return {
    path,
    read: ({ authorization }: IncomingHttpHeaders, body) => readTokenQuestion(authorization, body),
    serves: () => true,
    async answer(client: ClientWithSecrets, { token }, context: RequestContext) {
      const claims = await tokens.inspect(token, context.now);
      // what is dead, or no token at all, needs no revocation (RFC 7009, 2.2)
      if (!claims) return '';
      if (claims.client_id !== client.clientId) return undefined;
      await revocations.revoke({ claims, origin: originOf(client.clientId, context), now: context.now });
      return '';
    },
  };
}
