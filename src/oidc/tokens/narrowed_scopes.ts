/**
 * Narrows what codes, device codes, backchannel requests and refresh tokens were granted to the scopes of OpenID Connect
 * that their client is registered for now. The stored token keeps them all, as it keeps scopes of APIs, and the client
 * has them again if it is registered for them again.
 */
import { Provider } from 'oidc-provider';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope, stillRegistered } from '../issuance/scope_values.ts';

interface Source {
  readonly clientId?: string | undefined;
  readonly scope?: string | undefined;
}

/** The library reads `scopes` for what it issues, and copies `scope` into the next token. Call it for each new provider. */
export function narrowScopes(provider: Provider): void {
  const { AuthorizationCode, DeviceCode, BackchannelAuthenticationRequest, RefreshToken } = provider;
  for (const { prototype } of [AuthorizationCode, DeviceCode, BackchannelAuthenticationRequest, RefreshToken]) {
    Object.defineProperty(prototype, 'scopes', {
      get(this: Source) {
        const client = Provider.ctx?.oidc.client;
        const scopes = splitScope(this.scope);
        return new Set(
          client && client.clientId === this.clientId ? stillRegistered(recordOf(client).metadata, scopes) : scopes,
        );
      },
    });
  }
}
