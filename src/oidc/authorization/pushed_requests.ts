/**
 * Pushed authorization requests (PAR, RFC 9126). A request_uri may be opened again until somebody has logged in with
 * it, because browsers reload and virus checkers look ahead (FAPI 2.0); then one statement decides who is answered (see
 * adapter.ts). Its row outlives every interaction that began with it, however long the person takes.
 */
import { errors, Provider } from 'oidc-provider';
import { internalsOf } from '../provider/library_types.ts';

/** Where the row is gone all the same, nobody can say whether it was used: the library would go on without it. */
export function demandPushedRequest(provider: Provider): void {
  const Model = internalsOf(provider).PushedAuthorizationRequest;
  const { find } = Model;
  Model.find = async (id, options) => {
    const found = await find.call(Model, id, options);
    if (!found && Provider.ctx?.oidc.route === 'resume') throw new errors.InvalidRequestUri('request_uri has expired');
    return found;
  };
}
