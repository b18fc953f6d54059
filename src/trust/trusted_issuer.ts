/**
 * Trusted issuers: parties whose signed statements this server accepts. Each is trusted only for the purposes,
 * algorithms and keys that an admin registered. Disabling an issuer takes effect at once, on every node.
 */
import { z } from 'zod';
import type { EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import { conflict, notFound, Refused } from '../base/refusal.ts';
import { inPlainWords, violationsOf } from '../base/violations.ts';
import { recordChange } from '../invalidation/log.ts';
import { CLIENT_ALGS, clientAlg, keysUrl, text } from '../clients/metadata/field_types.ts';
import { PublicJwk } from '../clients/metadata/public_jwk.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';

/** What an issuer's statements are accepted for. */
export const PURPOSES = ['jwt_bearer', 'software_statement', 'token_exchange'] as const;
export type Purpose = (typeof PURPOSES)[number];

/** `StringOrURI` of RFC 7519 (2): compared character by character, so invisible characters are refused. */
const IssuerName = z
  .string()
  .max(512, 'must not be longer than 512 characters')
  .regex(/^[\x21-\x7e]+( [\x21-\x7e]+)*$/, 'must consist of visible ASCII characters')
  .refine(
    (issuer) => !issuer.includes(':') || (URL.canParse(issuer) && !issuer.includes(' ')),
    'must be a URI if it contains a colon',
  );

const distinct = (what: string) => [(all: readonly unknown[]) => new Set(all).size === all.length, what] as const;

const members = {
  display_name: text(200).describe('Name of the issuer for admins.'),
  jwks: z
    .strictObject({
      keys: z.array(PublicJwk).min(1, 'must hold at least one key').max(10, 'must not hold more than 10 keys'),
    })
    .optional()
    .describe('The public keys of the issuer; alternatively, jwks_uri names their location.'),
  jwks_uri: keysUrl.optional(),
  algs: z
    .array(clientAlg)
    .min(1, 'must name at least one algorithm')
    .max(CLIENT_ALGS.length)
    .refine(...distinct('must not name an algorithm twice'))
    .describe('Signing algorithms of the issuer; assertions with others are refused.'),
  purposes: z
    .array(z.enum(PURPOSES, `must be one of ${PURPOSES.join(', ')}`))
    .min(1, 'must name at least one purpose')
    .max(PURPOSES.length)
    .refine(...distinct('must not name a purpose twice'))
    .describe('What assertions of the issuer are accepted for.'),
};

export const TrustedIssuerShape = z.strictObject({ issuer: IssuerName, ...members });
/** The members that a patch may contain, besides `disabled`. */
export const TrustedIssuerChangeShape = z.strictObject(members);

export const NewTrustedIssuer = TrustedIssuerShape.superRefine(({ jwks, jwks_uri }, context) => {
  if ((jwks === undefined) !== (jwks_uri === undefined)) return;
  const message = jwks ? 'must be omitted if jwks is given' : 'is required unless jwks is given';
  context.addIssue({ code: 'custom', path: ['jwks_uri'], message });
});
type NewTrustedIssuer = z.output<typeof NewTrustedIssuer>;

export interface TrustedIssuer {
  readonly issuer: string;
  readonly displayName: string;
  readonly jwks: NewTrustedIssuer['jwks'];
  readonly jwksUri: string | undefined;
  readonly algs: readonly (typeof CLIENT_ALGS)[number][];
  readonly purposes: readonly Purpose[];
  readonly disabledAt: Date | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Creates a trusted issuer. The caller has refused this server itself, whose tokens are verified as its own. */
export async function createTrustedIssuer(change: UnitOfWork, given: NewTrustedIssuer): Promise<TrustedIssuer> {
  const { tx, now } = change;
  const row = await tx
    .insertInto('trusted_issuers')
    .values({ issuer: given.issuer, ...stored(given), disabled_at: null, created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!row) throw conflict(`${given.issuer} is already a trusted issuer.`);
  const { issuer, algs, purposes } = given;
  await changed(change, { event: 'trusted_issuer.created', outcome: 'success', details: { issuer, algs, purposes } });
  return toTrustedIssuer(row);
}

/** All values may be recorded, because the keys are public. */
const RECORDED_MEMBERS = [
  'display_name',
  'jwks',
  'jwks_uri',
  'algs',
  'purposes',
] as const satisfies readonly (keyof typeof members)[];

/** Applies a JSON merge patch (RFC 7396) to a locked issuer; validates the result as a whole. */
export async function updateTrustedIssuer(
  change: UnitOfWork,
  current: TrustedIssuer,
  { disabled, ...patch }: Readonly<Record<string, unknown>> & { readonly disabled?: boolean | undefined },
): Promise<TrustedIssuer> {
  const { issuer, disabledAt } = current;
  const given = applyPatch(current, patch);
  const wasDisabled = disabledAt !== null;
  const disables = disabled ?? wasDisabled;
  const row = await change.tx
    .updateTable('trusted_issuers')
    .set({
      ...stored(given),
      disabled_at: disables ? (disabledAt ?? change.now) : null,
      updated_at: change.now,
      version: current.version + 1,
    })
    .where('issuer', '=', issuer)
    .returningAll()
    .executeTakeFirstOrThrow();
  const patched = Object.keys(patch);
  if (patched.length > 0 || disables === wasDisabled) {
    const { algs, purposes } = given;
    const values = changedValues(RECORDED_MEMBERS, membersOf(current), given);
    const details = { issuer, members: patched, ...values, algs, purposes };
    await changed(change, { event: 'trusted_issuer.updated', outcome: 'success', details });
  }
  if (disables !== wasDisabled) {
    const event = disables ? 'trusted_issuer.disabled' : 'trusted_issuer.enabled';
    await changed(change, { event, outcome: 'success', details: { issuer } });
  }
  return toTrustedIssuer(row);
}

/**
 * Deletes the issuer and its links to accounts. Throws `conflict` while a policy names it; delete the policy first, or
 * disable the issuer.
 */
export async function deleteTrustedIssuer(change: UnitOfWork, { issuer }: TrustedIssuer): Promise<void> {
  const policy = await change.tx
    .selectFrom('grant_policies')
    .select('policy_id')
    .where('subject_issuer', '=', issuer)
    .limit(1)
    .executeTakeFirst();
  if (policy)
    throw conflict(`Policies still name this issuer (${policy.policy_id}); delete them first, or disable it.`);
  await change.tx.deleteFrom('trusted_issuers').where('issuer', '=', issuer).execute();
  await changed(change, { event: 'trusted_issuer.deleted', outcome: 'success', details: { issuer } });
}

/** Reads the issuer and locks it against changes until the transaction ends. */
export async function lockTrustedIssuer(tx: Tx, issuer: string): Promise<TrustedIssuer> {
  const row = await tx
    .selectFrom('trusted_issuers')
    .selectAll()
    .where('issuer', '=', issuer)
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw notFound('Trusted issuer not found.');
  return toTrustedIssuer(row);
}

export async function findTrustedIssuer(reader: Reader, issuer: string): Promise<TrustedIssuer | undefined> {
  const row = await reader.selectFrom('trusted_issuers').selectAll().where('issuer', '=', issuer).executeTakeFirst();
  return row && toTrustedIssuer(row);
}

export interface TrustedIssuerPage {
  readonly limit: number;
  /** The last issuer of the previous page. */
  readonly after?: string | undefined;
}

/** Lists trusted issuers in order of name; all of them without `page`. */
export async function readTrustedIssuers(reader: Reader, page?: TrustedIssuerPage): Promise<TrustedIssuer[]> {
  let rows = reader.selectFrom('trusted_issuers').selectAll().orderBy('issuer');
  if (page) rows = rows.limit(page.limit);
  if (page?.after !== undefined) rows = rows.where('issuer', '>', page.after);
  return (await rows.execute()).map(toTrustedIssuer);
}

function membersOf({ issuer, displayName, jwks, jwksUri, algs, purposes }: TrustedIssuer) {
  return { issuer, display_name: displayName, jwks, jwks_uri: jwksUri, algs, purposes };
}

function applyPatch(current: TrustedIssuer, patch: Readonly<Record<string, unknown>>): NewTrustedIssuer {
  const merged = { ...membersOf(current), ...patch };
  // null removes a member
  const named = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  const { data, error } = NewTrustedIssuer.safeParse(named, { error: inPlainWords });
  if (data) return data;
  throw new Refused({ reason: 'invalid', violations: violationsOf(error) });
}

async function changed(
  { tx, trail, origin, now }: UnitOfWork,
  what: EventOf<`trusted_issuer.${'created' | 'updated' | 'disabled' | 'enabled' | 'deleted'}`>,
): Promise<void> {
  await trail.recordIn(tx, origin, what);
  await recordChange(tx, { topic: 'trusted_issuer', key: what.details.issuer }, now);
}

function stored({ display_name, jwks, jwks_uri, algs, purposes }: NewTrustedIssuer) {
  return { display_name, jwks: jwks ? json(jwks) : null, jwks_uri: jwks_uri ?? null, algs, purposes };
}

/** The row was validated when it was written, so the casts are safe. */
function toTrustedIssuer(row: {
  issuer: string;
  display_name: string;
  jwks: object | null;
  jwks_uri: string | null;
  algs: string[];
  purposes: string[];
  disabled_at: Date | null;
  version: number;
  created_at: Date;
  updated_at: Date;
}): TrustedIssuer {
  return {
    issuer: row.issuer,
    displayName: row.display_name,
    jwks: (row.jwks ?? undefined) as TrustedIssuer['jwks'],
    jwksUri: row.jwks_uri ?? undefined,
    algs: row.algs as TrustedIssuer['algs'],
    purposes: row.purposes as TrustedIssuer['purposes'],
    disabledAt: row.disabled_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
