/**
 * The token of a ping is sealed with the request, in the outbox's format, so that the decision only has to insert it.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table backchannel_requests
    add column ping_id text,
    add column ping_data_key_id text references data_keys,
    add column ping bytea,
    add check ((ping_id is null) = (ping is null) and (ping_data_key_id is null) = (ping is null))`.execute(db);
}
