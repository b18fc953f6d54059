/** Which response modes there are, at this server and for one client of it. */
import { Provider, type Client, type UnknownObject } from 'oidc-provider';
import type { ResponseMode } from '../../base/response_modes.ts';
import { supportsResponseMode } from '../../clients/server_demands.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

/** What types of the library leave out. */
interface ClientClass {
  prototype: { responseModeAllowed(this: Client, mode: string | undefined, type: string, profile: unknown): boolean };
}

/** Call it for each provider that is built. */
export function limitResponseModes(provider: Provider, modes: readonly ResponseMode[]): void {
  const { prototype } = provider.Client as unknown as ClientClass;
  prototype.responseModeAllowed = function (mode) {
    const allowed = (recordOf(this).metadata.response_modes ?? modes).filter((one) => supportsResponseMode(modes, one));
    if (mode === undefined || supportsResponseMode(allowed, mode)) return true;
    // the client hears of it in a way that it allows
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
