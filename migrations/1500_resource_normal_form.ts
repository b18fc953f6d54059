/**
 * The form in which identifiers of resources are compared (RFC 3986, 6.2): scheme and host in lower case, no default
 * port, `/` for an empty path. The database computes it, so that nodes of the release before store it too, and no two
 * resources can have the same one. `normalUri` (src/base/uri.ts) computes the same value.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(`alter table resources add column normal_form text generated always as (${NORMAL_FORM}) stored`)
    .execute(db);
  const { rows } = await sql<{ identifiers: string[] }>`
    select array_agg(identifier order by identifier) as identifiers from resources
    group by normal_form having count(*) > 1 order by 1 limit 1`.execute(db);
  const [same] = rows;
  if (same) {
    throw new Error(
      `the resources ${same.identifiers.join(' and ')} are the same from this release on, because their identifiers differ only in an empty path, a default port, or the case of scheme or host. Delete one of them with the earlier release, then start this one again`,
    );
  }
  await sql`create unique index resources_by_normal_form on resources (normal_form)`.execute(db);
}

const PARTS = String.raw`'^([A-Za-z][A-Za-z0-9+.-]*)://([^][/?#@:]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?(/[^?#]*)?(\?[^#]*)?$'`;
const part = (number: number): string => `(regexp_match(identifier, ${PARTS}))[${number}]`;
const lower = (text: string): string => `lower(${text} collate "C")`;

const NORMAL_FORM = `case when identifier ~ ${PARTS} then
    ${lower(part(1))} || '://' || ${lower(part(2))}
    || case when ${lower(part(1))} || coalesce(${part(3)}, ':')
        in (${lower(part(1))} || ':', 'http:80', 'https:443', 'ws:80', 'wss:443') then '' else ${part(3)} end
    || coalesce(${part(4)}, '/') || coalesce(${part(5)}, '')
  else ${lower(`substring(identifier from '^[A-Za-z][A-Za-z0-9+.-]*:')`)}
    || substring(identifier from '^[A-Za-z][A-Za-z0-9+.-]*:(.*)$')
  end`;
