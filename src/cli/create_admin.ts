import { readFile } from 'node:fs/promises';
import { ADMIN_SCOPES, adminResourceIdentifier } from '../admin/admin.ts';
import { SYSTEM } from '../audit/events.ts';
import { adminClientSettings, ensureAdminResource, ensureClient } from '../bootstrap/admin_access.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { CannotStart } from '../base/cannot_start.ts';
import { inPlainWords, violationsOf } from '../base/violations.ts';
import { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { createClient } from '../clients/client_store.ts';
import { transact } from '../db/transaction.ts';
import { withContext } from './command_context.ts';

const KEYS_REQUIRED =
  'GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION is set, so the server refuses client secrets: pass --jwks <file> with the public keys that the client signs with.';

/**
 * Registers an admin client, the first access to the admin API in production. Prints the secret once; the server stores
 * only its digest.
 */
export async function createAdminClient({ name, jwks: file }: { name: string; jwks?: string }): Promise<void> {
  const keys = file === undefined ? undefined : await readPublicKeys(file);
  const credentials = await withContext(async ({ config, database, vault, trail }) => {
    if (config.clientDemands.strongAuthentication && !keys) throw new CannotStart(KEYS_REQUIRED);
    const now = new Date();
    const adminApi = { identifier: adminResourceIdentifier(config.issuer), scopes: ADMIN_SCOPES };
    const pepper = await vault.current('pepper', now);
    return transact(database, async (tx) => {
      const work = { tx, trail, origin: SYSTEM, now };
      await ensureAdminResource(work, adminApi);
      if (keys) return createClientWithKeys(work, config.issuer, adminClientSettings(name, adminApi), keys);
      const { clientId, clientSecret } = await ensureClient(
        work,
        pepper,
        undefined,
        adminClientSettings(name, adminApi),
      );
      return {
        client_id: clientId,
        client_secret: clientSecret.reveal(),
        resource: adminApi.identifier,
        token_endpoint: `${config.issuer}/token`,
      };
    });
  });
  process.stdout.write(`${JSON.stringify(credentials, undefined, 2)}\n`);
}

/** Reads a JWK or JWK set from a file. The client metadata schema validates it later. */
async function readPublicKeys(file: string): Promise<readonly unknown[]> {
  try {
    const value = JSON.parse(await readFile(file, 'utf8')) as { readonly keys?: readonly unknown[] };
    return value.keys ?? [value];
  } catch (error) {
    throw new CannotStart(`${file} contains no JWK or JWK set: ${(error as Error).message}.`, { cause: error });
  }
}

/** Creates the client with private_key_jwt instead of a secret. */
async function createClientWithKeys(
  work: UnitOfWork,
  issuer: string,
  { secret_rotation_days: _, ...settings }: Record<string, unknown>,
  keys: readonly unknown[],
) {
  const own = { ...settings, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys } };
  const { data: metadata, error } = ClientMetadata.safeParse(own, { error: inPlainWords });
  if (!metadata) {
    const [first] = violationsOf(error);
    throw new CannotStart(`The keys are not valid: ${first?.path} ${first?.detail}.`);
  }
  const { clientId } = await createClient(work, metadata);
  return {
    client_id: clientId,
    token_endpoint_auth_method: metadata.token_endpoint_auth_method,
    resource: adminResourceIdentifier(issuer),
    token_endpoint: `${issuer}/token`,
  };
}
