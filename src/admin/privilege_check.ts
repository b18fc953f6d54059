/**
 * Prevents privilege escalation in the admin API: a caller cannot assign or control admin scopes that its own token
 * lacks. Otherwise a caller with clients:write could register a client with more rights than its own, and a caller with
 * secrets:rotate could take over a privileged client. Only admin scopes count: this server does not know what scopes of
 * other APIs allow.
 */
import { conflict, invalid, Refused } from '../base/refusal.ts';
import { clearerSpelling, isAtOrBelow, isSameUri } from '../base/uri.ts';
import type { Client } from '../clients/client.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import type { AdminCall } from './admin_call.ts';
import { ADMIN_SCOPES, adminResourceIdentifier } from './scopes.ts';

/** Throws unless the caller's token carries every admin scope in the metadata. */
export function requireScopesToAssign(call: AdminCall, metadata: ClientMetadata): void {
  const missing = missingScopes(call, metadata);
  if (missing.length > 0)
    throw forbidden(`You can assign only admin scopes that your own token carries. Missing: ${missing.join(' ')}.`);
}

/** Throws if the client has an admin scope that the caller's token lacks. */
export function requireScopesToManage(call: AdminCall, client: Client): void {
  const missing = missingScopes(call, client.metadata);
  if (missing.length > 0)
    throw forbidden(`${client.clientId} has admin scopes that your token does not carry: ${missing.join(' ')}.`);
}

/** Prevents an admin client from locking itself out. */
export function refuseSelf(call: AdminCall, client: Client, verb: string): void {
  if (client.clientId === call.caller.clientId) throw conflict(`A client cannot ${verb} itself; use another client.`);
}

/**
 * Protects the admin resource: if it were deleted or had other scopes, no client could administer the server. Only the
 * context that a login for it needs may be changed, by a caller with all admin scopes: nobody with fewer may make the
 * logins of admins weaker, or keep admins out.
 */
export function refuseAdminResource(call: AdminCall, identifier: string, members: readonly string[] = []): void {
  if (!isSameUri(identifier, adminResourceIdentifier(call.dependencies.issuer))) return;
  if (members.length === 0 || members.some((member) => member !== 'required_acr'))
    throw forbidden('The resource of the admin API cannot be deleted, and only its required_acr can be changed.');
  const missing = ADMIN_SCOPES.map(({ name }) => name).filter((name) => !call.caller.scopes.has(name));
  if (missing.length > 0)
    throw forbidden(`Only a token with all admin scopes can change this. Missing: ${missing.join(' ')}.`);
}

/**
 * Refuses the URI of an API or of another issuer that a client or a person could take for this server's issuer or for a
 * URL below it, such as the userinfo endpoint; and one that URL parsers write in another way, so that programs could take
 * it for another registered one.
 */
export function refuseLookAlike({ dependencies: { issuer } }: AdminCall, pointer: string, uri: string): void {
  if (isAtOrBelow(uri, issuer))
    throw invalid(pointer, `must not be this server's issuer ${issuer} or a URL below it, or look like one`);
  const clearer = clearerSpelling(uri);
  if (clearer !== undefined) throw invalid(pointer, `must be written as ${clearer}`);
}

function missingScopes({ caller, dependencies }: AdminCall, { resources }: ClientMetadata): string[] {
  const admin = adminResourceIdentifier(dependencies.issuer);
  const scopes = resources.filter(({ resource }) => isSameUri(resource, admin)).flatMap((access) => access.scopes);
  return scopes.filter((scope) => !caller.scopes.has(scope));
}

export function forbidden(detail: string): Refused {
  return new Refused({ reason: 'forbidden', detail });
}
