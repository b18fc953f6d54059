/**
 * Whom an ID token names that a client brings back as a hint. A pairwise name can't be turned back into an account: it is
 * looked for among the people that the client has been given something for, those of late first.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { sql } from 'kysely';
import type { Subjects } from '../../clients/subject.ts';
import type { Database } from '../../db/connection.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

/** Each costs a digest, so that whoever brings a hint costs some milliseconds and no more. */
const LOOKED_AT_MOST = 10_000;

/** The account that is meant by `name`: itself, unless it comes from a hint of a client with pairwise subjects. */
export async function accountMeant(
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
    group by account_id order by max(created_at) desc limit ${LOOKED_AT_MOST}`.execute(database);
  return rows.find(({ account_id }) => subjects(account_id, record) === name)?.account_id;
}
