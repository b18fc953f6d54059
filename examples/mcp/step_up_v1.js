import { auth, extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js';

/** Asks the person for the scopes that the program has and those that the answer with status 403 names. */
export async function stepUp(provider, serverUrl, answer) {
  const { scope = '', resourceMetadataUrl } = extractWWWAuthenticateParams(answer);
  const { scope: held = '' } = (await provider.tokens()) ?? {};
  await provider.invalidateCredentials('tokens'); // with a refresh token, auth() renews the scopes that it has
  const scopes = new Set(`${held} ${scope}`.split(' ').filter((name) => name !== ''));
  return auth(provider, { serverUrl, resourceMetadataUrl, scope: [...scopes].join(' ') });
}
