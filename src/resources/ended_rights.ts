/**
 * Ends what hangs on a deleted resource, or on scopes that were removed from one: its scopes in grants and consents, and
 * the codes, device codes, backchannel requests and refresh tokens for it. Grants may be many, so this is done in batches,
 * each one short statement. The rows in `ended_resources` are written with the change, and completed with the audit event
 * when nothing is left; until then, no resource or scope of that name can be made. No new right can arise in
 * the meantime, because a grant or consent is stored without resources and scopes that do not exist.
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

/**
 * Refuses with `conflict` while rights for a deleted resource of this name are left, or for removed scopes of it: any, or
 * those of `scopes`.
 */
export async function refuseWhileRightsAreLeft(tx: Tx, identifier: string, scopes?: readonly string[]): Promise<void> {
  if (scopes?.length === 0) return;
  let query = tx
    .selectFrom('ended_resources')
    .selectAll()
    .where('normal_form', '=', normalUri(identifier))
    .where('completed_at', 'is', null);
  if (scopes) query = query.where('scope', 'in', scopes);
  const left = await query.executeTakeFirst();
  if (!left) return;
  const what = scopes ? `removed scope ${left.scope} of` : 'deleted resource';
  throw conflict(`The server is still ending the rights for the ${what} ${left.identifier}; try again in a minute.`);
}

/** Orders the end of the rights for removed scopes of a resource, or with `null` for all of it. */
export async function orderEndOfRights(
  tx: Tx,
  identifier: string,
  scopes: readonly (string | null)[],
  now: Date,
): Promise<void> {
  const ended = { identifier, normal_form: normalUri(identifier), ended_at: now, completed_at: null };
  await tx
    .insertInto('ended_resources')
    .values(scopes.map((scope) => ({ ...ended, scope })))
    .onConflict((clash) => clash.columns(['identifier', 'scope']).doUpdateSet({ ended_at: now, completed_at: null }))
    .execute();
}

/** The scopes of this name that were removed in the last days; `null` among them if the resource was deleted. */
export async function endedBefore(tx: Tx, identifier: string): Promise<ReadonlySet<string | null>> {
  const rows = await tx
    .selectFrom('ended_resources')
    .select('scope')
    .where('normal_form', '=', normalUri(identifier))
    .execute();
  return new Set(rows.map(({ scope }) => scope));
}

/** Forgets names of which no token is left: none lives longer than a day. */
export async function forgetEndedNames(database: Database): Promise<void> {
  await database
    .deleteFrom('ended_resources')
    .where('completed_at', '<', sql<Date>`now() - interval '2 days'`)
    .execute();
}

/** Ends the rights for all deleted resources and removed scopes, or for those of one resource. Safe on several nodes. */
export async function endRights(
  settings: EndedRightsSettings,
  { signal, milliseconds }: Limits,
  only?: string,
): Promise<void> {
  const until = performance.now() + milliseconds;
  for (const target of await readTargets(settings.database, only)) {
    const ended = await endRightsFor(settings.database, target, () => !signal?.aborted && performance.now() < until);
    if (!ended) return;
    await complete(settings, target, ended);
  }
}

/** What ended: the whole resource, or some of its scopes, which one pass over the grants ends together. */
interface Target {
  readonly identifier: string;
  /** `undefined` for the whole resource. */
  readonly scopes: readonly string[] | undefined;
}

async function readTargets(database: Database, only: string | undefined): Promise<Target[]> {
  let query = database
    .selectFrom('ended_resources')
    .select(['identifier', sql<(string | null)[]>`array_agg(scope order by scope)`.as('scopes')])
    .where('completed_at', 'is', null)
    .groupBy('identifier')
    .orderBy(sql`min(ended_at)`);
  if (only !== undefined) query = query.where('normal_form', '=', normalUri(only));
  return (await query.execute()).map(({ identifier, scopes }) => {
    const named = scopes.filter((scope) => scope !== null);
    return { identifier, scopes: named.length === scopes.length ? named : undefined };
  });
}

interface Ended {
  readonly grants: number;
  readonly tokens: number;
  readonly consents: number;
}

/** Resolves to `undefined` if there was no time for all of it. */
async function endRightsFor(database: Database, target: Target, goesOn: () => boolean): Promise<Ended | undefined> {
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
        ${ended(target)}
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

async function complete({ database, trail }: EndedRightsSettings, target: Target, ended: Ended): Promise<void> {
  const { identifier, scopes } = target;
  await transact(database, async (tx) => {
    let rows = tx
      .updateTable('ended_resources')
      .set({ completed_at: sql`now()` })
      .where('identifier', '=', identifier)
      .where('completed_at', 'is', null);
    // another scope may have been removed, or the resource deleted, since this began
    if (scopes) rows = rows.where('scope', 'in', scopes);
    const { numUpdatedRows } = await rows.executeTakeFirst();
    // another node was faster
    if (numUpdatedRows === 0n) return;
    const details = { resource: identifier, ...(scopes && { scopes }), ...ended };
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
  /** CTEs that change the rows of `batch`; `affected` has those with rights for the resource or the scopes. */
  readonly ended: (target: Target) => RawBuilder<unknown>;
}

const STEPS: readonly Step[] = [
  {
    counts: 'grants',
    table: 'grants',
    key: 'grant_id',
    ended: ({ identifier, scopes }) => {
      const given = sql`string_to_array(payload->'resources'->>${identifier}::text, ' ')`;
      // details of authorization (RFC 9396) are rights that need no scope
      const isEmpty = sql`affected.payload->'resources' = '{}'
        and not affected.payload ?| ${scopes ? ['openid', 'rar'] : ['openid']}::text[]`;
      return sql`
        affected as materialized (
          select grant_id, case when kept.scopes = '{}' then payload #- array['resources', ${identifier}::text]
            else jsonb_set(payload, array['resources', ${identifier}::text], to_jsonb(array_to_string(kept.scopes, ' '))) end as payload
          from grants, lateral (select ${without(given, scopes)} as scopes) as kept
          where grant_id in (select key from batch) and payload->'resources' ? ${identifier} and ${hasAny(given, scopes)}
          order by grant_id for update of grants),
        deleted as (delete from grants using affected where grants.grant_id = affected.grant_id and ${isEmpty}),
        updated as (update grants set payload = affected.payload from affected
          where grants.grant_id = affected.grant_id and not (${isEmpty}))`;
    },
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
    ended: ({ identifier, scopes }) => {
      const given = sql`array(select jsonb_array_elements_text(consents.scopes->'resources'->${identifier}::text))`;
      return sql`
        affected as materialized (
          select account_id, client_id, case when kept.names = '{}' then scopes #- array['resources', ${identifier}::text]
            else jsonb_set(scopes, array['resources', ${identifier}::text], to_jsonb(kept.names)) end as scopes
          from consents, lateral (select ${without(given, scopes)} as names) as kept
          where account_id in (select key from batch) and scopes->'resources' ? ${identifier} and ${hasAny(given, scopes)}
          order by account_id, client_id for update of consents),
        deleted as (delete from consents using affected
          where (consents.account_id, consents.client_id) = (affected.account_id, affected.client_id)
          and affected.scopes = '{"openid": [], "claims": [], "resources": {}}'),
        updated as (update consents set scopes = affected.scopes from affected
          where (consents.account_id, consents.client_id) = (affected.account_id, affected.client_id)
          and affected.scopes <> '{"openid": [], "claims": [], "resources": {}}')`;
    },
  },
];

/** The scopes without those that ended; none if the whole resource ended. */
function without(given: RawBuilder<unknown>, ended: readonly string[] | undefined): RawBuilder<unknown> {
  if (!ended) return sql`'{}'::text[]`;
  return sql`array(select scope from unnest(${given}) with ordinality as one (scope, place)
    where scope <> all(${ended}::text[]) order by place)`;
}

function hasAny(given: RawBuilder<unknown>, ended: readonly string[] | undefined): RawBuilder<unknown> {
  return ended ? sql`${given} && ${ended}::text[]` : sql`true`;
}

function tokenStep(table: string, key: string, only: RawBuilder<unknown> = sql`true`): Step {
  return {
    counts: 'tokens',
    table,
    key,
    only,
    ended: ({ identifier, scopes }) =>
      scopes
        ? scopesTaken({ table, key, only }, identifier, scopes)
        : tokensWithoutResource({ table, key, only }, identifier),
  };
}

type Tokens = Required<Pick<Step, 'table' | 'key' | 'only'>>;

/** A token for this resource alone, or for it and userinfo, is deleted; one for several resources keeps the others. */
function tokensWithoutResource({ table, key, only }: Tokens, identifier: string): RawBuilder<unknown> {
  const [rows, id] = [sql.table(table), sql.ref(key)];
  return sql`
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
      from affected where ${only} and ${id} = affected.key and affected.for_others)`;
}

/** A token for several resources keeps a scope that another one of them has too: the grant says for which it is. */
function scopesTaken({ table, key, only }: Tokens, identifier: string, scopes: readonly string[]): RawBuilder<unknown> {
  const [rows, id] = [sql.table(table), sql.ref(key)];
  const given = sql`string_to_array(payload->>'scope', ' ')`;
  return sql`
    affected as materialized (
      select ${id} as key, array_to_string(array(
        select one.scope from unnest(${given}) with ordinality as one (scope, place)
        where one.scope <> all(${scopes}::text[]) or exists (
          select from resources as other where other.identifier <> ${identifier} and payload->'resource' ? other.identifier
            and other.scopes @> jsonb_build_array(jsonb_build_object('name', one.scope)))
        order by place), ' ') as scope
      from ${rows}
      where ${only} and ${id} in (select key from batch) and payload->'resource' ? ${identifier}
        and ${given} && ${scopes}::text[]
      order by 1 for update of ${rows}),
    updated as (update ${rows} set payload = jsonb_set(payload, '{scope}', to_jsonb(affected.scope))
      from affected where ${only} and ${id} = affected.key)`;
}
