/** The token endpoint on a lean path (lean_front.ts): the grant types that have one. */
import type { LeanClientCredentials } from './lean_client_credentials.ts';
import type { LeanPath } from './lean_front.ts';
import type { LeanPersonTokens } from './lean_person_tokens.ts';
import { readTokenRequest, type LeanTokenRequest } from './lean_request.ts';

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
