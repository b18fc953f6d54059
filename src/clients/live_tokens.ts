/**
 * Lists the live JWT access tokens of a client: issued according to the audit trail, not expired, and not ended on their
 * own, with their grant, with the client, with their API, with a token that they were made from, or with the trust in the
 * issuer that they rest on (oidc/tokens/access_token_state.ts). Only the audit trail contains all of them.
 */
import { sql, type RawBuilder } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Reader } from '../db/connection.ts';

export interface LiveToken {
  readonly jti: string;
  readonly resource: string;
  readonly withUserinfo: boolean;
  readonly scope: string | null;
  readonly grantType: string;
  readonly accountId: string | null;
  readonly grantId: string | null;
  /** The thumbprint of the key that the token is bound to (RFC 9449, 6.1). */
  readonly jkt: string | null;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

export interface LiveTokenPage {
  readonly limit: number;
  /** The scopes of this server, which belong to no API. */
  readonly ownScopes: readonly string[];
  /** The last token of the previous page. */
  readonly after?: { readonly expiresAt: string; readonly jti: string } | undefined;
}

/**
 * Returns a page of tokens, those that expire last first. Reads only two days of the trail, because no token lives
 * longer than a day.
 */
export async function listLiveTokens(
  reader: Reader,
  clientId: string,
  now: Date,
  { limit, ownScopes, after }: LiveTokenPage,
): Promise<LiveToken[]> {
  const position = after
    ? sql`and ((e.details->>'expires_at') collate "C", (e.details->>'jti') collate "C") < (${after.expiresAt}, ${after.jti})`
    : sql``;
  const { rows } = await sql<Row>`
    select e.occurred_at, e.account_id, e.details, ${lastingScopes(ownScopes)} as scope from audit_events e
    join clients c on c.client_id = e.client_id and c.revoked_at is null
    join resources api on api.identifier = e.details->>'resource' and ${isMadeBefore(sql`api.tokens_valid_from`, sql`e.occurred_at`)}
    where e.client_id = ${clientId} and e.event = 'token.issued' and e.details ? 'expires_at'
      and e.occurred_at > ${addSeconds(now, -2 * DAY_SECONDS)}
      and (e.details->>'expires_at') collate "C" > ${now.toISOString()} ${position}
      and (e.details->>'generation')::integer = c.token_generation
      and not exists (select from revoked_tokens r where r.jti = e.details->>'jti')
      and ${rightsLive(sql`e.details->>'grant_id'`, sql`e.details->>'asserted_by'`, now)}
      and not exists (
        select from jsonb_to_recordset(coalesce(e.details->'parents', '[]'))
          as p (jti text, client_id text, generation integer, grant_id text, asserted_by text, resource text, issued_at timestamptz)
        where exists (select from revoked_tokens r where r.jti = p.jti)
          or not exists (select from clients pc where pc.client_id = p.client_id and pc.revoked_at is null
            and pc.token_generation = p.generation)
          or p.resource is not null and not exists (select from resources pr where pr.identifier = p.resource
            and ${isMadeBefore(sql`pr.tokens_valid_from`, sql`p.issued_at`)})
          or not (${rightsLive(sql`p.grant_id`, sql`p.asserted_by`, now)}))
    order by (e.details->>'expires_at') collate "C" desc, (e.details->>'jti') collate "C" desc
    limit ${limit}`.execute(reader);
  return rows.map(({ occurred_at, account_id, details, scope }) => ({
    jti: details.jti,
    resource: details.resource,
    withUserinfo: details.with_userinfo ?? false,
    scope,
    grantType: details.grant_type,
    accountId: account_id,
    grantId: details.grant_id ?? null,
    jkt: details.jkt ?? null,
    issuedAt: occurred_at,
    expiresAt: new Date(details.expires_at),
  }));
}

/** The token's scopes without those that were removed from the API since; `null` if there are none. */
function lastingScopes(ownScopes: readonly string[]): RawBuilder<unknown> {
  return sql`nullif(array_to_string(array(
  select one.scope from unnest(string_to_array(e.details->>'scope', ' ')) with ordinality as one (scope, place)
  where one.scope = any(${ownScopes}::text[])
    or api.scopes @> jsonb_build_array(jsonb_build_object('name', one.scope))
      and ${isMadeBefore(sql`coalesce((api.scopes_added_at->>one.scope)::timestamptz, api.tokens_valid_from)`, sql`e.occurred_at`)}
  order by place), ' '), '')`;
}

/** Whether the API or scope was made in the second of the token or before. */
function isMadeBefore(created: RawBuilder<unknown>, issued: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`date_trunc('second', ${created}) <= ${issued}`;
}

/** Whether the grant exists and the issuer is trusted, where the token has one. */
function rightsLive(grantId: RawBuilder<unknown>, issuer: RawBuilder<unknown>, now: Date): RawBuilder<unknown> {
  return sql`(${grantId} is null or exists (select from grants g where g.expires_at > ${now}
      and g.grant_id = decode(translate(${grantId}, '-_', '+/') || '=', 'base64')))
    and (${issuer} is null or exists (select from trusted_issuers t
      where t.issuer = ${issuer} and t.disabled_at is null))`;
}

interface Row {
  readonly occurred_at: Date;
  readonly account_id: string | null;
  readonly scope: string | null;
  readonly details: {
    readonly jti: string;
    readonly resource: string;
    readonly with_userinfo?: boolean;
    readonly grant_type: string;
    readonly grant_id?: string;
    readonly jkt?: string;
    readonly expires_at: string;
  };
}
