/**
 * How far a caller reaches, object by object: you can't give or control what you don't have. Whoever may register
 * clients could otherwise register one with more rights than their own, and whoever may rotate secrets could take over
 * a client that has them. Only scopes of the admin API count; what other APIs' scopes are worth is not for us to know.
 */
import { conflict, Refused } from '../base/refusal.ts';
import type { Client } from '../clients/client.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import type { AdminCall } from './call.ts';
import { adminResourceIdentifier } from './scopes.ts';

/** Throws unless the caller's own token carries every admin scope that the metadata gives. */
export function refuseToGive(call: AdminCall, metadata: ClientMetadata): void {
  const beyond = beyondReach(call, metadata);
  if (beyond.length > 0)
    throw forbidden(`You can only give admin scopes that your own token carries, which ${beyond.join(' ')} is not.`);
}

/** Throws when the client may do more to this server than the caller may: it is not theirs to change. */
export function refuseToControl(call: AdminCall, client: Client): void {
  const beyond = beyondReach(call, client.metadata);
  if (beyond.length > 0)
    throw forbidden(`${client.clientId} has admin scopes that your token does not carry: ${beyond.join(' ')}.`);
}

/** Keeps an admin from locking itself out. */
export function refuseSelf(call: AdminCall, client: Client, verb: string): void {
  if (client.clientId === call.caller.clientId) throw conflict(`A client can't ${verb} itself; use another one.`);
}

/** The admin resource comes with the house: without it, or with other scopes, nobody could administer. */
export function refuseAdminResource(call: AdminCall, identifier: string): void {
  if (identifier === adminResourceIdentifier(call.dependencies.issuer))
    throw forbidden('The admin API itself can’t be changed or deleted.');
}

function beyondReach({ caller, dependencies }: AdminCall, { resources }: ClientMetadata): string[] {
  const admin = adminResourceIdentifier(dependencies.issuer);
  const scopes = resources.filter((access) => access.resource === admin).flatMap((access) => access.scopes);
  return scopes.filter((scope) => !caller.scopes.has(scope));
}

function forbidden(detail: string): Refused {
  return new Refused({ reason: 'forbidden', detail });
}
