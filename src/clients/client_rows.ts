/** Reads clients with all their related rows, in one query for any number of clients. */
import { CompiledQuery, sql, type RawBuilder } from 'kysely';
import { jsonArrayFrom, jsonObjectFrom } from 'kysely/helpers/postgres';
import { InternedLists } from '../base/interning.ts';
import type { Reader } from '../db/connection.ts';
import type { ClientWithSecrets, Registration, StoredSecret } from './client.ts';
import { unionOfAccess } from './metadata/access.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

function query(reader: Reader) {
  return reader
    .selectFrom('clients')
    .selectAll('clients')
    .select((client) => [
      jsonArrayFrom(
        client
          .selectFrom('client_resources')
          .select(['resource', 'scopes'])
          .whereRef('client_resources.client_id', '=', 'clients.client_id')
          .orderBy('resource'),
      ).as('resources'),
      jsonArrayFrom(
        client
          .selectFrom('client_introspects')
          .select('resource')
          .whereRef('client_introspects.client_id', '=', 'clients.client_id')
          .orderBy('resource'),
      ).as('introspects'),
      jsonObjectFrom(
        client
          .selectFrom('client_registrations')
          .select([
            'source',
            'policy',
            'held_members',
            'software_statement',
            'document_fetched_at',
            'document_fresh_until',
            'document_pinned_at',
          ])
          .select((registration) => [
            jsonArrayFrom(
              registration
                .selectFrom('registration_policy_resources')
                .select(['resource', 'scopes'])
                .whereRef('registration_policy_resources.policy', '=', 'client_registrations.policy')
                .orderBy('resource'),
            ).as('from_policy'),
          ])
          .whereRef('client_registrations.client_id', '=', 'clients.client_id'),
      ).as('registration'),
      jsonArrayFrom(
        client
          .selectFrom('client_authorization_details_types')
          .select('type')
          .whereRef('client_authorization_details_types.client_id', '=', 'clients.client_id')
          .orderBy('type'),
      ).as('details_types'),
      jsonArrayFrom(
        client
          .selectFrom('client_secrets')
          .select([
            'secret_id',
            'pepper_id',
            'argon2id',
            'hint',
            'created_at',
            'expires_at',
            'ended_at',
            'last_used_at',
          ])
          .select(sql<string | null>`encode(digest, 'base64')`.as('digest'))
          .whereRef('client_secrets.client_id', '=', 'clients.client_id')
          .orderBy('created_at')
          .orderBy('secret_id'),
      ).as('secrets'),
    ]);
}

type Row = Awaited<ReturnType<ReturnType<typeof query>['executeTakeFirstOrThrow']>>;

export async function readClient(reader: Reader, clientId: string): Promise<ClientWithSecrets | undefined> {
  return (await readClientsNamed(reader, [clientId]))[0];
}

/** Cached, because generating this constant SQL text takes longer than the rest of a lookup in this process. */
let namedClients: string | undefined;

/** Returns the clients that exist among `clientIds`, in no particular order. */
export async function readClientsNamed(reader: Reader, clientIds: readonly string[]): Promise<ClientWithSecrets[]> {
  namedClients ??= query(reader)
    .where('clients.client_id', '=', sql<string>`any(${clientIds})`)
    .compile().sql;
  const { rows } = await reader.executeQuery<Row>(CompiledQuery.raw(namedClients, [clientIds]));
  return rows.map(toClient);
}

export interface Page {
  readonly limit: number;
  /** The last item of the previous page. */
  readonly after?: { readonly createdAt: Date; readonly clientId: string } | undefined;
  /** Part of a name or client_id; case does not matter. */
  readonly search?: string | undefined;
  /** Only clients that registered themselves under this policy. */
  readonly policy?: string | undefined;
  /**
   * true: only clients whose newest live secret is due for rotation at `now` (see `rotationDueAt`); false: only the
   * others.
   */
  readonly overdue?: { readonly is: boolean; readonly now: Date } | undefined;
}

/** Returns a page of clients, oldest first. */
export async function readClients(
  reader: Reader,
  { limit, after, search, policy, overdue }: Page,
): Promise<ClientWithSecrets[]> {
  let rows = query(reader).orderBy('clients.created_at').orderBy('clients.client_id').limit(limit);
  if (after) {
    rows = rows.where(({ eb, refTuple, tuple }) =>
      eb(refTuple('clients.created_at', 'clients.client_id'), '>', tuple(after.createdAt, after.clientId)),
    );
  }
  if (search) {
    const pattern = `%${search.replaceAll(/[\\%_]/g, (character) => `\\${character}`)}%`;
    const text = sql`(clients.client_id || ' ' || coalesce(clients.metadata->>'client_name', ''))`;
    // first a condition that the index covers (migrations/0090_growth.ts), then the exact one
    const folded = pattern.replaceAll(/[^ -~]/gu, '?').toLowerCase();
    rows = rows
      .where(sql`lower(regexp_replace(${text}, '[^ -~]', '?', 'g'))`, 'like', folded)
      .where(text, 'ilike', pattern);
  }
  if (policy !== undefined) {
    rows = rows.where(({ exists, selectFrom }) =>
      exists(
        selectFrom('client_registrations')
          .select('client_id')
          .whereRef('client_registrations.client_id', '=', 'clients.client_id')
          .where('policy', '=', policy),
      ),
    );
  }
  if (overdue) rows = rows.where(isOverdue(overdue.now), '=', overdue.is);
  if (overdue?.is) rows = rows.where('clients.secret_rotation_days', 'is not', null);
  return (await rows.execute()).map(toClient);
}

function isOverdue(now: Date): RawBuilder<boolean> {
  return sql<boolean>`coalesce((select max(s.created_at) from client_secrets s
    where s.client_id = clients.client_id and s.ended_at is null and (s.expires_at is null or s.expires_at > ${now})
    ) + make_interval(secs => clients.secret_rotation_days * 86400) <= ${now}, false)`;
}

/** Cached clients share equal lists, because a node keeps thousands of similar clients. */
const SHARED = new InternedLists();

function toClient(row: Row): ClientWithSecrets {
  const registration = toRegistration(row);
  // earlier versions stored it, and it is not supported any more
  const { logo_uri: _, ...stored } = row.metadata;
  const members = {
    ...stored,
    resources: registration ? unionOfAccess(registration.given, registration.fromPolicy) : row.resources,
    introspects: row.introspects.map((introspected) => introspected.resource),
    authorization_details_types: row.details_types.map(({ type }) => type),
    ...(row.secret_rotation_days !== null && { secret_rotation_days: row.secret_rotation_days }),
  };
  const shared = Object.entries(members).map(([name, value]) => [name, SHARED.share(value)]);
  const metadata = Object.fromEntries(shared) as ClientMetadata;
  return {
    clientId: row.client_id,
    metadata,
    tokenGeneration: row.token_generation,
    revokedAt: row.revoked_at,
    revokedReason: row.revoked_reason,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    registration,
    secrets: row.secrets.map(toSecret),
  };
}

function toRegistration({ registration: row, resources }: Row): Registration | null {
  if (!row) return null;
  return {
    source: row.source,
    policy: row.policy,
    fromPolicy: row.from_policy,
    given: resources,
    heldMembers: row.held_members,
    softwareStatement: row.software_statement,
    documentFetchedAt: row.document_fetched_at === null ? null : new Date(row.document_fetched_at),
    documentFreshUntil: row.document_fresh_until === null ? null : new Date(row.document_fresh_until),
    documentIsPinned: row.document_pinned_at !== null,
  };
}

/** Converts a row; JSON contains times as text. */
function toSecret(row: Row['secrets'][number]): StoredSecret {
  return {
    secretId: row.secret_id,
    pepperId: row.pepper_id,
    digest: row.digest,
    argon2id: row.argon2id,
    hint: row.hint,
    createdAt: new Date(row.created_at),
    expiresAt: row.expires_at === null ? null : new Date(row.expires_at),
    endedAt: row.ended_at === null ? null : new Date(row.ended_at),
    lastUsedAt: row.last_used_at === null ? null : new Date(row.last_used_at),
  };
}
