/**
 * Pushed authorization requests (PAR, RFC 9126). A request_uri may be opened repeatedly until a person has logged in
 * with it, because browsers reload pages and virus scanners prefetch links (FAPI 2.0). After the login, one statement
 * decides which request is answered (see adapter.ts). The row outlives every interaction that began with it.
 */
import { errors, Provider } from 'oidc-provider';
import { internalsOf } from '../provider/library_types.ts';

/**
 * Refuses to resume if the row no longer exists: the server can't know whether it was used, and the library would
 * continue without it.
 */
export function demandPushedRequest(provider: Provider): void {
  const Model = internalsOf(provider).PushedAuthorizationRequest;
  const { find } = Model;
  Model.find = async (id, options) => {
    const found = await find.call(Model, id, options);
    if (!found && Provider.ctx?.oidc.route === 'resume') throw new errors.InvalidRequestUri('request_uri has expired');
    return found;
  };
}
