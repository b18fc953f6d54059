/** What a ping carries is sealed when the request comes, as the outbox wants it: the decision only has to put it there. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table backchannel_requests
    add column ping_id text,
    add column ping_data_key_id text references data_keys,
    add column ping bytea,
    add check ((ping_id is null) = (ping is null) and (ping_data_key_id is null) = (ping is null))`.execute(db);
}
