/** Consents that people gave, stored until the person or an admin withdraws them. */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { json, type Reader } from '../db/connection.ts';
import { withExistingResources } from '../resources/existing_resources.ts';

/**
 * Scopes grouped by their origin: OpenID Connect, single claims, or a resource, with what its API may read about the
 * person (data_for_apis.ts).
 */
export interface ConsentedScopes {
  readonly openid: readonly string[];
  readonly claims: readonly string[];
  readonly resources: Readonly<Record<string, readonly string[]>>;
}

export interface Consent {
  readonly clientId: string;
  readonly scopes: ConsentedScopes;
  readonly givenAt: Date;
}

/** Adds the scopes to the stored consent of the client, without those that were deleted since. */
export async function rememberConsent(
  { tx, now }: UnitOfWork,
  { accountId, clientId }: { readonly accountId: string; readonly clientId: string },
  scopes: ConsentedScopes,
): Promise<void> {
  const before = await tx
    .selectFrom('consents')
    .select('scopes')
    .where('account_id', '=', accountId)
    .where('client_id', '=', clientId)
    .forUpdate()
    .executeTakeFirst();
  const merged = before ? mergeScopes(before.scopes, scopes) : scopes;
  await tx
    .insertInto('consents')
    .values({ account_id: accountId, client_id: clientId, scopes: json(merged), given_at: now })
    .onConflict((clash) =>
      clash.columns(['account_id', 'client_id']).doUpdateSet({ scopes: json(merged), given_at: now }),
    )
    .execute();
  const resources = await withExistingResources(tx, merged.resources);
  if (!resources) return;
  await tx
    .updateTable('consents')
    .set({ scopes: json({ ...merged, resources }) })
    .where('account_id', '=', accountId)
    .where('client_id', '=', clientId)
    .execute();
}

export async function findConsent(reader: Reader, accountId: string, clientId: string): Promise<Consent | undefined> {
  const row = await reader
    .selectFrom('consents')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('client_id', '=', clientId)
    .executeTakeFirst();
  return row && { clientId, scopes: row.scopes, givenAt: row.given_at };
}

export interface ConsentPage {
  readonly limit: number;
  /** The last item of the previous page. */
  readonly after?: { readonly givenAt: Date; readonly clientId: string } | undefined;
}

/** Returns all consents of an account, newest first, or one page of them. */
export async function listConsents(reader: Reader, accountId: string, page?: ConsentPage): Promise<Consent[]> {
  let query = reader
    .selectFrom('consents')
    .selectAll()
    .where('account_id', '=', accountId)
    .orderBy('given_at', 'desc')
    .orderBy('client_id', 'desc');
  if (page) query = query.limit(page.limit);
  const { after } = page ?? {};
  if (after) {
    query = query.where((row) =>
      row(row.refTuple('given_at', 'client_id'), '<', row.tuple(after.givenAt, after.clientId)),
    );
  }
  const rows = await query.execute();
  return rows.map((row) => ({ clientId: row.client_id, scopes: row.scopes, givenAt: row.given_at }));
}

/**
 * Withdraws a consent and ends all grants of that client, so its tokens end at once. Returns whether either existed.
 */
export async function withdrawConsent(
  { tx, trail, origin }: UnitOfWork,
  accountId: string,
  clientId: string,
): Promise<boolean> {
  const consent = await tx
    .deleteFrom('consents')
    .where('account_id', '=', accountId)
    .where('client_id', '=', clientId)
    .executeTakeFirst();
  const grants = await tx
    .deleteFrom('grants')
    .where('account_id', '=', accountId)
    .where('client_id', '=', clientId)
    .executeTakeFirst();
  if (consent.numDeletedRows + grants.numDeletedRows === 0n) return false;
  await trail.recordIn(tx, origin, { event: 'consent.withdrawn', outcome: 'success', accountId, clientId });
  return true;
}

/** Returns the scopes that are in `a` or in `b`. */
export function mergeScopes(a: ConsentedScopes, b: ConsentedScopes): ConsentedScopes {
  const union = (x: readonly string[] = [], y: readonly string[] = []): string[] => [...new Set([...x, ...y])];
  const names = union(Object.keys(a.resources), Object.keys(b.resources));
  return {
    openid: union(a.openid, b.openid),
    claims: union(a.claims, b.claims),
    resources: Object.fromEntries(names.map((name) => [name, union(a.resources[name], b.resources[name])])),
  };
}
