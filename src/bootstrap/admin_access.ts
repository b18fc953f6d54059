/** The admin API as a resource of this server, and the clients that may use it. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { CannotStart } from '../base/cannot_start.ts';
import { readClient } from '../clients/client_rows.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { createClient, lockClient, updateClient } from '../clients/client_store.ts';
import { addSecret } from '../clients/secrets.ts';
import { makeSecret } from '../clients/server_made_secret.ts';
import type { Secret } from '../base/secret.ts';
import type { Scope } from '../resources/resource.ts';
import { NewResource } from '../resources/resource_members.ts';
import { createResource, listResources, lockResource, updateResource } from '../resources/resource_rows.ts';
import type { DataKey } from '../vault/vault.ts';

/** Admin tokens are short-lived: what an admin may do is looked at again every five minutes. */
const ADMIN_TOKEN_SECONDS = 300;

export interface AdminApi {
  readonly identifier: string;
  readonly scopes: readonly Scope[];
}

/**
 * Registers the admin API, and gives it the scopes that this version has. None is ever taken away here: a node of a
 * newer version may run beside this one, and clients would lose what they were given for good.
 */
export async function ensureAdminResource(change: UnitOfWork, { identifier, scopes }: AdminApi): Promise<void> {
  // nodes that start together do this together: the second one finds what the first has made
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.admin_resource'))`.execute(change.tx);
  const existing = (await listResources(change.tx)).find((resource) => resource.identifier === identifier);
  if (!existing) {
    const made = { identifier, scopes, access_token_ttl_seconds: ADMIN_TOKEN_SECONDS };
    await createResource(change, NewResource.parse(made));
    return;
  }
  const known = new Set(existing.scopes.map((scope) => scope.name));
  const added = scopes.filter((scope) => !known.has(scope.name));
  if (added.length === 0) return;
  await updateResource(change, await lockResource(change.tx, identifier), { scopes: [...existing.scopes, ...added] });
}

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: Secret;
}

/** Gives a client these settings and a fresh secret, making it where there is none. */
export async function ensureClient(
  change: UnitOfWork,
  pepper: DataKey,
  clientId: string | undefined,
  settings: object,
): Promise<Credentials> {
  const existing = clientId === undefined ? undefined : await readClient(change.tx, clientId);
  const client = existing
    ? await updateClient(change, await lockClient(change.tx, existing.clientId), { ...settings })
    : await createClient(change, ClientMetadata.parse(settings), clientId);
  const value = makeSecret();
  await addSecret(change, await lockClient(change.tx, client.clientId), {
    check: { pepper, value },
    overlapSeconds: 0,
  });
  return { clientId: client.clientId, clientSecret: value };
}

/** A client that may do everything in the admin API. Throws `CannotStart` for a name that no client can have. */
export function adminClientSettings(name: string, { identifier, scopes }: AdminApi): Record<string, unknown> {
  const named = ClientMetadataShape.shape.client_name.safeParse(name);
  if (!named.success) throw new CannotStart(`The name ${named.error.issues[0]?.message}.`);
  return {
    client_name: name,
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_basic',
    secret_rotation_days: 90,
    resources: [{ resource: identifier, scopes: scopes.map((scope) => scope.name) }],
  };
}
