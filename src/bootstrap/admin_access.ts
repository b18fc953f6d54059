/** Registers the admin API as a resource of this server, and clients that may use it. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { CannotStart } from '../base/cannot_start.ts';
import { readClient } from '../clients/client_rows.ts';
import { ClientMetadata, ClientMetadataShape } from '../clients/metadata/client_metadata.ts';
import { createClient, lockClient, updateClient } from '../clients/client_store.ts';
import { addSecret } from '../clients/secrets.ts';
import { makeSecret } from '../clients/generated_secret.ts';
import type { Secret } from '../base/secret.ts';
import type { Scope } from '../resources/resource.ts';
import { NewResource } from '../resources/resource_members.ts';
import { createResource, listResources, lockResource, updateResource } from '../resources/resource_rows.ts';
import type { DataKey } from '../vault/vault.ts';

/** Short, so that changes of an admin's rights take effect within five minutes. */
const ADMIN_TOKEN_SECONDS = 300;

export interface AdminApi {
  readonly identifier: string;
  readonly scopes: readonly Scope[];
}

/**
 * Registers the admin API with the scopes of this version. Never removes a scope: a node of a newer version may run
 * beside this one, and clients would lose the scope permanently.
 */
export async function ensureAdminResource(work: UnitOfWork, { identifier, scopes }: AdminApi): Promise<void> {
  // nodes that start at the same time wait here, and the second one finds the resource of the first
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.admin_resource'))`.execute(work.tx);
  const existing = (await listResources(work.tx)).find((resource) => resource.identifier === identifier);
  if (!existing) {
    const made = { identifier, display_name: 'Admin API', scopes, access_token_ttl_seconds: ADMIN_TOKEN_SECONDS };
    await createResource(work, NewResource.parse(made));
    return;
  }
  const known = new Set(existing.scopes.map((scope) => scope.name));
  const added = scopes.filter((scope) => !known.has(scope.name));
  if (added.length === 0) return;
  await updateResource(work, await lockResource(work.tx, identifier), { scopes: [...existing.scopes, ...added] });
}

export interface Credentials {
  readonly clientId: string;
  readonly clientSecret: Secret;
}

/** Creates or updates the client with these settings and creates a new secret. */
export async function ensureClient(
  work: UnitOfWork,
  pepper: DataKey,
  clientId: string | undefined,
  settings: object,
): Promise<Credentials> {
  const existing = clientId === undefined ? undefined : await readClient(work.tx, clientId);
  const client = existing
    ? await updateClient(work, await lockClient(work.tx, existing.clientId), { ...settings })
    : await createClient(work, ClientMetadata.parse(settings), clientId);
  const value = makeSecret();
  await addSecret(work, await lockClient(work.tx, client.clientId), {
    check: { pepper, value },
    overlapSeconds: 0,
  });
  return { clientId: client.clientId, clientSecret: value };
}

/** Returns the settings of a client with all admin scopes. Throws `CannotStart` for an invalid name. */
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
