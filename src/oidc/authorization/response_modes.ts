/** The response modes of this server and of each client. */
import { Provider, type UnknownObject } from 'oidc-provider';
import type { ResponseMode } from '../../base/response_modes.ts';
import { supportsResponseMode } from '../../clients/server_requirements.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { internalsOf } from '../provider/library_types.ts';

/** Restricts a provider to `modes` and to those of the client; call it for each new provider. */
export function limitResponseModes(provider: Provider, modes: readonly ResponseMode[]): void {
  const { prototype } = internalsOf(provider).Client;
  prototype.responseModeAllowed = function (mode) {
    const allowed = (recordOf(this).metadata.response_modes ?? modes).filter((one) => supportsResponseMode(modes, one));
    if (mode === undefined || supportsResponseMode(allowed, mode)) return true;
    // answer the error in a response mode that the client permits
    const { params } = Provider.ctx?.oidc ?? {};
    if (params) params['response_mode'] = allowed[0];
    return false;
  };
  provider.use(async (ctx, next) => {
    await next();
    const metadata = ctx.path.startsWith('/.well-known/') ? (ctx.body as UnknownObject | undefined) : undefined;
    const named = metadata?.['response_modes_supported'];
    if (Array.isArray(named)) metadata!['response_modes_supported'] = named.filter((mode) => modes.includes(mode));
  });
}
