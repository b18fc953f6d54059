/**
 * Ends what hangs on a deleted resource: its scopes in grants and consents, and the codes, device codes, backchannel
 * requests and refresh tokens for it. Grants may be many, so this is done in batches, each one short statement. The row
 * in `ended_resources` is written with the deletion, and deleted with the audit event when nothing is left; as long as it
 * is there, no resource of that name can be made. No new right can arise in the meantime, because a grant or consent is
 * stored without scopes of resources that do not exist.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type RawBuilder } from 'kysely';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { conflict } from '../base/refusal.ts';
import { normalUri } from '../base/uri.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';

/** About ten milliseconds of work. */
const BATCH = 1_000;

export interface EndedRightsSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
}

interface Limits {
  /** Ends the work after the current batch; the next run begins anew. */
  readonly signal?: AbortSignal;
  readonly milliseconds: number;
}

/** Refuses with `conflict` while rights for a deleted resource of this name are left. */
export async function refuseWhileRightsAreLeft(tx: Tx, identifier: string): Promise<void> {
  const left = await tx
    .selectFrom('ended_resources')
    .select('identifier')
    .where('normal_form', '=', normalUri(identifier))
    .executeTakeFirst();
  if (!left) return;
  throw conflict(
    `The server is still ending the rights for the deleted resource ${left.identifier}; try again in a minute.`,
  );
}

/** Ends the rights for all deleted resources, or for one of them. Safe on several nodes at once. */
export async function endRights(
  settings: EndedRightsSettings,
  { signal, milliseconds }: Limits,
  only?: string,
): Promise<void> {
  const until = performance.now() + milliseconds;
  let query = settings.database.selectFrom('ended_resources').select('identifier').orderBy('ended_at');
  if (only !== undefined) query = query.where('normal_form', '=', normalUri(only));
  for (const { identifier } of await query.execute()) {
    const ended = await endRightsFor(
      settings.database,
      identifier,
      () => !signal?.aborted && performance.now() < until,
    );
    if (!ended) return;
    await complete(settings, identifier, ended);
  }
}

interface Ended {
  readonly grants: number;
  readonly tokens: number;
  readonly consents: number;
}

/** Resolves to `undefined` if there was no time for all of it. */
async function endRightsFor(database: Database, identifier: string, goesOn: () => boolean): Promise<Ended | undefined> {
  const counts = { grants: 0, tokens: 0, consents: 0 };
  // grants first, in the order of every transaction that ends them; a grant without other rights takes its tokens along
  for (const { counts: name, table, key, only, ended } of STEPS) {
    let after: unknown;
    do {
      if (!goesOn()) return undefined;
      const began = performance.now();
      const { rows } = await sql<Batch>`
        with batch as materialized (
          select ${sql.ref(key)} as key from ${sql.table(table)}
          where ${only ?? sql`true`} ${after === undefined ? sql`` : sql`and ${sql.ref(key)} > ${after}`}
          order by 1 limit ${BATCH}),
        ${ended(identifier)}
        select (select count(*) from affected)::integer as affected, (select count(*) from batch)::integer as read,
          (select key from batch order by key desc limit 1) as last`.execute(database);
      const [batch] = rows;
      counts[name] += batch!.affected;
      after = batch!.read < BATCH ? undefined : batch!.last;
      // the database rests as long as it has worked
      if (after !== undefined) await delay(performance.now() - began);
    } while (after !== undefined);
  }
  return counts;
}

async function complete({ database, trail }: EndedRightsSettings, identifier: string, ended: Ended): Promise<void> {
  await transact(database, async (tx) => {
    const { numDeletedRows } = await tx
      .deleteFrom('ended_resources')
      .where('identifier', '=', identifier)
      .executeTakeFirst();
    // another node was faster
    if (numDeletedRows === 0n) return;
    const details = { resource: identifier, ...ended };
    await trail.recordIn(tx, SYSTEM, { event: 'resource.rights_ended', outcome: 'success', details });
  });
}

interface Batch {
  readonly affected: number;
  readonly read: number;
  readonly last: unknown;
}

interface Step {
  readonly counts: keyof Ended;
  /** Rows are read in the order of this table's key. */
  readonly table: string;
  readonly key: string;
  readonly only?: RawBuilder<unknown>;
  /** CTEs that change the rows of `batch`; `affected` has those with rights for the resource. */
  readonly ended: (identifier: string) => RawBuilder<unknown>;
}

const STEPS: readonly Step[] = [
  {
    counts: 'grants',
    table: 'grants',
    key: 'grant_id',
    ended: (identifier) => sql`
      affected as materialized (
        select grant_id, payload #- array['resources', ${identifier}::text] as payload from grants
        where grant_id in (select key from batch) and payload->'resources' ? ${identifier}
        order by grant_id for update),
      deleted as (delete from grants using affected where grants.grant_id = affected.grant_id
        and affected.payload->'resources' = '{}' and not affected.payload ? 'openid'),
      updated as (update grants set payload = affected.payload from affected where grants.grant_id = affected.grant_id
        and (affected.payload->'resources' <> '{}' or affected.payload ? 'openid'))`,
  },
  ...['RefreshToken', 'AuthorizationCode'].map((kind): Step => {
    const only = sql`kind = ${kind}`;
    return tokenStep('artifacts', 'artifact_id', only);
  }),
  tokenStep('device_codes', 'device_code'),
  tokenStep('backchannel_requests', 'auth_req_id'),
  {
    counts: 'consents',
    table: 'accounts',
    key: 'account_id',
    ended: (identifier) => sql`
      affected as materialized (
        select account_id, client_id, scopes #- array['resources', ${identifier}::text] as scopes from consents
        where account_id in (select key from batch) and scopes->'resources' ? ${identifier}
        order by account_id, client_id for update),
      deleted as (delete from consents using affected
        where (consents.account_id, consents.client_id) = (affected.account_id, affected.client_id)
        and affected.scopes = '{"openid": [], "claims": [], "resources": {}}'),
      updated as (update consents set scopes = affected.scopes from affected
        where (consents.account_id, consents.client_id) = (affected.account_id, affected.client_id)
        and affected.scopes <> '{"openid": [], "claims": [], "resources": {}}')`,
  },
];

/** A token for this resource alone, or for it and userinfo, is deleted; one for several resources keeps the others. */
function tokenStep(table: string, key: string, only: RawBuilder<unknown> = sql`true`): Step {
  const [rows, id] = [sql.table(table), sql.ref(key)];
  return {
    counts: 'tokens',
    table,
    key,
    only,
    ended: (identifier) => sql`
      affected as materialized (
        select ${id} as key, named.others,
          exists (select from resources where identifier in (select jsonb_array_elements_text(named.others))) as for_others
        from ${rows}, lateral (select case jsonb_typeof(payload->'resource') when 'array'
          then (payload->'resource') - ${identifier}::text else '[]' end as others) as named
        where ${only} and ${id} in (select key from batch) and payload->'resource' ? ${identifier}
        order by 1 for update of ${rows}),
      deleted as (delete from ${rows} using affected where ${only} and ${id} = affected.key and not affected.for_others),
      updated as (update ${rows} set payload = jsonb_set(payload, '{resource}',
          case jsonb_array_length(affected.others) when 1 then affected.others->0 else affected.others end)
        from affected where ${only} and ${id} = affected.key and affected.for_others)`,
  };
}
