/**
 * Has the library give the claims that an admin has added (issuance/person_claims.ts). It gives only claims that discovery
 * names, so its class `Claims` gets them beside the claims of the account.
 */
import type { Provider } from 'oidc-provider';
import { ADDED_CLAIMS } from '../issuance/person_claims.ts';
import { internalsOf } from './library_types.ts';

/** Call it for each new provider. */
export function giveAddedClaims(provider: Provider): void {
  const { prototype } = internalsOf(provider).Claims;
  const { result } = prototype;
  prototype.result = async function () {
    const { available, filter } = this;
    const claims = await result.call(this);
    const added = available[ADDED_CLAIMS]?.((member) => Object.hasOwn(filter, member));
    return added ? { ...added, ...claims } : claims;
  };
}
