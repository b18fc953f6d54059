/** The token endpoint of the fast path (fast_path.ts): chooses the handler by the grant type. */
import type { FastClientCredentials } from './client_credentials.ts';
import type { FastPathEndpoint } from './fast_path.ts';
import type { CodeAndRefresh } from './code_and_refresh.ts';
import { readTokenRequest, type PlainTokenRequest } from './plain_request.ts';

export function fastTokenEndpoint(
  path: string,
  machines: FastClientCredentials,
  people: CodeAndRefresh,
): FastPathEndpoint<PlainTokenRequest> {
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
