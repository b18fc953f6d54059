/** The default registration policy of a server for MCP. It is stored like any other, and admins may change it. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { createPolicy, findPolicy, readPolicies } from './policy_store.ts';
import { RegistrationPolicy } from './policy.ts';

const NAME = 'mcp';
const DAY_SECONDS = 86_400;

/**
 * Creates the policy if none has this name. If another policy is already open, this one is created closed. An existing
 * policy is never changed, because an admin who closed it wants it to stay closed after a restart.
 */
export async function ensureMcpPolicy(change: UnitOfWork): Promise<void> {
  // nodes that start together run this one after the other; the second finds the first's policy
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.mcp_policy'))`.execute(change.tx);
  if (await findPolicy(change.tx, NAME)) return;
  const others = (await readPolicies(change.tx, { limit: 1_000 })).map(({ policy }) => policy);
  const policy = RegistrationPolicy.parse({
    name: NAME,
    open_registration: !others.some((other) => other.open_registration),
    client_id_metadata_documents: !others.some((other) => other.client_id_metadata_documents),
    // the methods that discovery names and that need no certificate
    token_endpoint_auth_methods: ['none', 'private_key_jwt', 'client_secret_basic', 'client_secret_post'],
    clients_at_most: 10_000,
    unused_client_ttl_seconds: DAY_SECONDS,
  });
  await createPolicy(change, policy);
}
