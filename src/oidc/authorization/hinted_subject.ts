/**
 * Resolves the subject of an ID token hint. A pairwise subject can't be reversed, so the server computes it for the
 * accounts that have a grant or consent for the client, most recent first.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { sql } from 'kysely';
import type { Subjects } from '../../clients/subject.ts';
import type { Database } from '../../db/connection.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

/** Each account costs one digest, so a hint costs a few milliseconds at most. */
const MAX_ACCOUNTS = 10_000;

/**
 * Resolves `name` to an account id. It is the account id itself, unless it comes from the hint of a client with
 * pairwise subjects.
 */
export async function resolveHintedSubject(
  database: Database,
  subjects: Subjects,
  { oidc }: KoaContextWithOIDC,
  name: string,
): Promise<string | undefined> {
  const hinted = oidc.route === 'backchannel_authentication' && oidc.entities.IdTokenHint !== undefined;
  const record = hinted ? recordOf(oidc.client!) : undefined;
  if (record?.metadata.subject_type !== 'pairwise') return name;
  const { rows } = await sql<{ account_id: string }>`
    select account_id from (
      select account_id, created_at from grants where client_id = ${record.clientId}
      union all select account_id, given_at from consents where client_id = ${record.clientId}) known
    group by account_id order by max(created_at) desc limit ${MAX_ACCOUNTS}`.execute(database);
  return rows.find(({ account_id }) => subjects(account_id, record) === name)?.account_id;
}
