/**
 * Grants in their own table; tokens reference its rows. A grant is stored only if its client is not revoked and its
 * account is not disabled; the statement waits for a transaction that is changing either.
 */
import { errors, type Adapter, type AdapterPayload } from 'oidc-provider';
import { sql } from 'kysely';
import { addSeconds, type Clock } from '../../base/clock.ts';
import { sha256, type Digest } from '../../base/secret.ts';
import { json, type Database, type Reader, type Tx } from '../../db/connection.ts';
import { withExistingResources } from '../../resources/existing_resources.ts';
import { PreparedStatement } from '../../db/prepared.ts';
import { membershipsOf, NO_MEMBERSHIPS, type Memberships } from '../../roles/memberships.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { takeGrant } from './request_prefetch.ts';
import { writeWithRequest } from '../request/request_writes.ts';

export interface GrantSettings {
  readonly database: Database;
  readonly clock: Clock;
}

const READ_GRANT = new PreparedStatement<{ readonly payload: AdapterPayload }>(
  'gatehouse_read_grant',
  'select payload from grants where grant_id = $1',
);

export class GrantStore implements Adapter {
  readonly #settings: GrantSettings;

  constructor(settings: GrantSettings) {
    this.#settings = settings;
  }

  async upsert(id: string, { jti: _, ...payload }: AdapterPayload, expiresIn: number): Promise<void> {
    const now = this.#settings.clock();
    const expires_at = addSeconds(now, expiresIn);
    await writeWithRequest(this.#settings.database, async (tx) => {
      const { numAffectedRows } = await sql`
        with client as (select client_id from clients where client_id = ${payload.clientId} and revoked_at is null for share),
        account as (select account_id from accounts where account_id = ${payload.accountId} and disabled_at is null for share)
        insert into grants (grant_id, account_id, client_id, payload, created_at, expires_at)
        select ${sha256(id)}, account_id, client_id, ${json(payload)}::jsonb, ${now}, ${expires_at} from client, account
        on conflict (grant_id) do update set payload = excluded.payload, expires_at = excluded.expires_at`.execute(tx);
      if (numAffectedRows !== 1n) throw new errors.InvalidGrant('the client was revoked or the account disabled');
      await removeEndedResources(tx, sha256(id), payload);
    });
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const digest = sha256(id);
    const read = takeGrant(digest);
    if (read) return { ...read, jti: id };
    const { rows } = await READ_GRANT.execute(this.#settings.database, digest);
    const [row] = rows;
    return row && { ...row.payload, jti: id };
  }

  async destroy(id: string): Promise<void> {
    await endGrantWithRequest(this.#settings.database, id);
  }

  async revokeByGrantId(id: string): Promise<void> {
    await this.destroy(id);
  }

  findByUid(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  findByUserCode(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  consume(): Promise<void> {
    throw new Error('A grant can not be consumed.');
  }
}

/** The payload of the referenced grant (`grantReference`). */
export async function readGrantByReference(database: Database, reference: string): Promise<AdapterPayload | undefined> {
  const { rows } = await READ_GRANT.execute(database, Buffer.from(reference, 'base64url'));
  return rows[0]?.payload;
}

/** Removes scopes that do not exist any more, or whose resource was deleted, since the request began. */
async function removeEndedResources(tx: Tx, grantId: Digest, payload: AdapterPayload): Promise<void> {
  const { resources: named, ...others } = payload as AdapterPayload & { resources?: Record<string, string> };
  if (!named) return;
  const scopes = Object.entries(named).map(([resource, scope]) => [resource, splitScope(scope)] as const);
  const left = await withExistingResources(tx, Object.fromEntries(scopes));
  if (!left) return;
  const resources = Object.fromEntries(Object.entries(left).map(([resource, names]) => [resource, names.join(' ')]));
  await tx
    .updateTable('grants')
    .set({ payload: json(Object.keys(resources).length > 0 ? { ...others, resources } : others) })
    .where('grant_id', '=', grantId)
    .execute();
}

/** True if the referenced grant (`grantReference`) exists and has not expired. */
export async function grantLives(database: Database, reference: string, now: Date): Promise<boolean> {
  return (await readGranter(database, reference, { now, withGroups: false })) !== undefined;
}

/** The account that gave a grant, with its groups. */
export interface Granter {
  readonly accountId: string;
  readonly memberships: Memberships;
}

/** Resolves to the account that gave the referenced grant; `undefined` if the grant has ended. */
export async function readGranter(
  database: Database,
  reference: string,
  { now, withGroups }: { readonly now: Date; readonly withGroups: boolean },
): Promise<Granter | undefined> {
  const row = await database
    .selectFrom('grants')
    .select(['account_id', membershipsOf('grants.account_id', withGroups).as('memberships')])
    .where('grant_id', '=', Buffer.from(reference, 'base64url') as Digest)
    .where('expires_at', '>', now)
    .executeTakeFirst();
  return row && { accountId: row.account_id, memberships: row.memberships ?? NO_MEMBERSHIPS };
}

/** Ends the grant when the request commits; at once outside of a request. */
export function endGrantWithRequest(database: Database, grantId: string): Promise<void> {
  return writeWithRequest(database, (tx) => endGrant(tx, grantId), { endsGrant: true });
}

/** Ends the grant and everything that belongs to it with one statement. Ending it twice changes nothing. */
export async function endGrant(database: Reader, grantId: string): Promise<void> {
  await database.deleteFrom('grants').where('grant_id', '=', sha256(grantId)).execute();
}
