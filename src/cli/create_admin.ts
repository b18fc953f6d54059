import { ADMIN_SCOPES, adminResourceIdentifier } from '../admin/admin.ts';
import { SYSTEM } from '../audit/events.ts';
import { adminClientSettings, ensureAdminResource, ensureClient } from '../bootstrap/admin_access.ts';
import { transact } from '../db/transaction.ts';
import { inHouse } from './house.ts';

/** The first way into the admin API in production; the secret is printed once and stored nowhere. */
export async function createAdminClient({ name }: { name: string }): Promise<void> {
  const credentials = await inHouse(async ({ config, database, vault, trail }) => {
    const now = new Date();
    const adminApi = { identifier: adminResourceIdentifier(config.issuer), scopes: ADMIN_SCOPES };
    const pepper = await vault.current('pepper', now);
    return transact(database, async (tx) => {
      const change = { tx, trail, origin: SYSTEM, now };
      await ensureAdminResource(change, adminApi);
      const { clientId, clientSecret } = await ensureClient(
        change,
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
