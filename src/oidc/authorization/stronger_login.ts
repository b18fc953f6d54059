/**
 * Codes and refresh tokens of a login that is weaker than what an admin has required since: for the client, for a
 * resource of the token, for a group of the person, or at this server.
 */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { Memberships } from '../../roles/memberships.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { sourceOf } from '../request/token_source.ts';
import { resourcesOf, type DemandedContexts } from './demanded_context.ts';

/** The client must send the person to a new login, as after any other end of its grant. */
class StrongerLoginRequired extends errors.InvalidGrant {
  constructor() {
    super('the login does not satisfy the required authentication context');
    this.error_description = 'a stronger login is required by now: send the end-user to a new authorization request';
  }
}

/** Throws before a refresh token is used up, so that it works again when the demand ends. A code has then been used. */
export function requireStrongLogin(
  ctx: KoaContextWithOIDC,
  contexts: DemandedContexts,
  memberships: Memberships,
): void {
  const { client, params } = ctx.oidc;
  const source = sourceOf(ctx);
  if (!client || !source) return;
  const resources = resourcesOf({ resource: params?.['resource'] ?? source.resource });
  if (!contexts.areSatisfied(source.amr, { client: recordOf(client).metadata, memberships, resources }))
    throw new StrongerLoginRequired();
}
