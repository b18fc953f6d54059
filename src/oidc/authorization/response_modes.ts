/** The response modes of this server and of each client. */
import { Provider, type UnknownObject } from 'oidc-provider';
import { toErrorDescription } from '../../base/error_description.ts';
import type { ResponseMode } from '../../base/response_modes.ts';
import { supportsResponseMode } from '../../clients/server_requirements.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { instanceOf } from '../provider/library_internals.ts';
import { internalsOf } from '../provider/library_types.ts';

/**
 * Keeps the `error_description` of every authorization response to the characters that it may have (RFC 6749, 4.1.2.1),
 * in each response mode; call it for each new provider.
 */
export function limitErrorDescriptions(provider: Provider): void {
  const { responseModes } = instanceOf(provider);
  for (const [mode, respond] of responseModes) {
    responseModes.set(mode, (ctx, redirectUri, out) => {
      const { error_description: description } = out;
      if (description === undefined) return respond(ctx, redirectUri, out);
      return respond(ctx, redirectUri, { ...out, error_description: toErrorDescription(description) });
    });
  }
}

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
