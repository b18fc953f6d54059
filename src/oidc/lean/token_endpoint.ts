/** The token endpoint on a lean path (front.ts): the grant types that have one. */
import type { LeanClientCredentials } from './client_credentials.ts';
import type { LeanPath } from './front.ts';
import type { LeanPersonTokens } from './person_tokens.ts';
import { readTokenRequest, type LeanTokenRequest } from './request.ts';

export function leanTokenEndpoint(
  path: string,
  machines: LeanClientCredentials,
  people: LeanPersonTokens,
): LeanPath<LeanTokenRequest> {
  return {
    path,
    read: ({ authorization }, body) => readTokenRequest(authorization, body),
    serves: ({ metadata }, { grantType }) => metadata.grant_types.includes(grantType),
    answer: (client, asked, context) =>
      asked.grantType === 'client_credentials'
        ? machines.answer(client, asked, context)
        : people.answer(client, asked, context),
  };
}
