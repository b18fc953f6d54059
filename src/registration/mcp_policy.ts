/** The policy that a server for MCP starts with: data like any other, which admins change as they like. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { createPolicy, findPolicy, readPolicies } from './policies.ts';
import { RegistrationPolicy } from './policy.ts';

const NAME = 'mcp';
const DAY_SECONDS = 86_400;

/**
 * Makes the policy where there is none of this name. Where another policy is open already, this one leaves that to it.
 * What there is, is never changed: an admin who has closed it wants it closed at the next start, too.
 */
export async function ensureMcpPolicy(change: UnitOfWork): Promise<void> {
  // nodes that start together do this together: the second one finds what the first has made
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.mcp_policy'))`.execute(change.tx);
  if (await findPolicy(change.tx, NAME)) return;
  const others = (await readPolicies(change.tx, { limit: 1_000 })).map(({ policy }) => policy);
  const policy = RegistrationPolicy.parse({
    name: NAME,
    open_registration: !others.some((other) => other.open_registration),
    client_id_metadata_documents: !others.some((other) => other.client_id_metadata_documents),
    token_endpoint_auth_methods: ['none', 'private_key_jwt'],
    clients_at_most: 10_000,
    unused_client_ttl_seconds: DAY_SECONDS,
  });
  await createPolicy(change, policy);
}
