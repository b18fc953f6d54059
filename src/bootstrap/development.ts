/**
 * The first start in development: an admin, an API with a client and a person to try things with, and a file that says
 * how to reach them. A start that finds the file leaves everything as it is.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createAccount, findAccountByEmail, lockAccount, updateAccount } from '../accounts/account.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import { CannotStart } from '../base/cannot_start.ts';
import { base62 } from '../base/ids.ts';
import { readClient } from '../clients/client_rows.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { NewResource } from '../resources/resource_members.ts';
import { createResource, listResources } from '../resources/resource_rows.ts';
import type { Vault } from '../vault/vault.ts';
import { adminClientSettings, ensureClient, type AdminApi } from './admin_access.ts';

export interface Bootstrap {
  readonly issuer: string;
  readonly admin: BootstrapClient;
  readonly demo: BootstrapClient;
  readonly account: { readonly email: string; readonly password: string };
  /** A client that nothing uses: its secret can be rotated again and again. */
  readonly throwaway: { readonly client_id: string };
}

export interface BootstrapClient {
  readonly client_id: string;
  readonly client_secret: string;
  readonly resource: string;
  readonly scope: string;
}

export interface DevelopmentSettings {
  readonly issuer: string;
  readonly file: string;
  readonly adminApi: AdminApi;
  readonly database: Database;
  /** Whether the database is the embedded one, which belongs to the folder of `file`. */
  readonly databaseIsOwn: boolean;
  readonly trail: AuditTrail;
  readonly vault: Vault;
  readonly argon2id: Argon2id;
  readonly now: Date;
}

const ADMIN = 'gatehouse-admin';
const DEMO = 'gatehouse-demo';
const THROWAWAY = 'gatehouse-throwaway';
const DEMO_EMAIL = 'demo@example.com';
const DEMO_REDIRECT_URI = 'http://127.0.0.1:8080/callback';
const DEMO_API = {
  identifier: 'https://api.example.com',
  scopes: [
    { name: 'notes:read', description: 'Read your notes' },
    { name: 'notes:write', description: 'Write and delete your notes' },
  ],
};

/**
 * What the file says; makes everything in it, and the file, where it is missing, speaks of another issuer, or comes from
 * a version whose admin could do less.
 */
export async function bootstrapDevelopment(settings: DevelopmentSettings): Promise<Bootstrap> {
  const found = await readBootstrap(settings.file);
  const fits =
    found?.issuer === settings.issuer &&
    found.admin.scope === scopeOf(settings.adminApi) &&
    found.throwaway?.client_id === THROWAWAY;
  return fits ? found : create(settings);
}

function scopeOf({ scopes }: AdminApi): string {
  return scopes.map((scope) => scope.name).join(' ');
}

/** `undefined` where there is no such file, or half of one. */
export async function readBootstrap(file: string): Promise<Bootstrap | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Bootstrap;
  } catch {
    return undefined;
  }
}

/** The database first, the file last: a start that is cut short between the two makes fresh secrets the next time. */
async function create({
  issuer,
  file,
  adminApi,
  database,
  databaseIsOwn,
  trail,
  vault,
  argon2id,
  now,
}: DevelopmentSettings): Promise<Bootstrap> {
  const pepper = await vault.current('pepper', now);
  const password = base62(randomBytes(12));
  const password_hash = await argon2id.hash(password);
  const bootstrap = await transact(database, async (tx): Promise<Bootstrap> => {
    if (!databaseIsOwn) await requireDevelopmentDatabase(tx);
    const change: UnitOfWork = { tx, trail, origin: SYSTEM, now };
    const admin = await ensureClient(change, pepper, ADMIN, adminClientSettings('Gatehouse admin', adminApi));
    await ensureDemoResource(change);
    const demo = await ensureClient(change, pepper, DEMO, demoClientSettings(issuer));
    const throwaway = await ensureClient(change, pepper, THROWAWAY, throwawayClientSettings());
    await ensureDemoAccount(change, password_hash);
    return {
      issuer,
      admin: {
        client_id: admin.clientId,
        client_secret: admin.clientSecret.reveal(),
        resource: adminApi.identifier,
        scope: scopeOf(adminApi),
      },
      demo: {
        client_id: demo.clientId,
        client_secret: demo.clientSecret.reveal(),
        resource: DEMO_API.identifier,
        scope: DEMO_API.scopes.map((scope) => scope.name).join(' '),
      },
      account: { email: DEMO_EMAIL, password },
      throwaway: { client_id: throwaway.clientId },
    };
  });
  await writeBootstrap(file, bootstrap);
  return bootstrap;
}

/** A database with clients of which none was made by a development server is one that others rely on. */
async function requireDevelopmentDatabase(tx: Tx): Promise<void> {
  if (await readClient(tx, ADMIN)) return;
  const others = await tx.selectFrom('clients').select('client_id').limit(1).execute();
  if (others.length === 0) return;
  throw new CannotStart(
    'The database that DATABASE_URL names has clients, and no development server has made them: set NODE_ENV to production, or DATABASE_URL to a database for development.',
  );
}

/** Written whole beside its place: nobody ever reads half of it. */
async function writeBootstrap(file: string, bootstrap: Bootstrap): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    // what lies there is half a file of a start that was cut short, or a trap: neither is written through
    await rm(`${file}.new`, { force: true });
    await writeFile(`${file}.new`, `${JSON.stringify(bootstrap, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
    await rename(`${file}.new`, file);
  } catch (error) {
    throw new CannotStart(
      `${file} can't be written: ${(error as Error).message}. Set GATEHOUSE_DATA_DIR to a folder that this user may write to.`,
      { cause: error },
    );
  }
}

async function ensureDemoResource(change: UnitOfWork): Promise<void> {
  const known = (await listResources(change.tx)).some((resource) => resource.identifier === DEMO_API.identifier);
  if (!known) await createResource(change, NewResource.parse(DEMO_API));
}

async function ensureDemoAccount(change: UnitOfWork, password_hash: string): Promise<void> {
  const known = await findAccountByEmail(change.tx, DEMO_EMAIL);
  if (known) await updateAccount(change, await lockAccount(change.tx, known.accountId), { password_hash });
  else await createAccount(change, { email: DEMO_EMAIL, email_verified: true, name: 'Demo Person', password_hash });
}

function demoClientSettings(issuer: string): object {
  return {
    client_name: 'Gatehouse demo',
    grant_types: ['client_credentials', 'authorization_code', 'refresh_token'],
    redirect_uris: [DEMO_REDIRECT_URI, `${issuer}/try-login/callback`],
    token_endpoint_auth_method: 'client_secret_basic',
    resources: [{ resource: DEMO_API.identifier, scopes: DEMO_API.scopes.map((scope) => scope.name) }],
    introspects: [DEMO_API.identifier],
  };
}

function throwawayClientSettings(): object {
  return {
    client_name: 'Gatehouse demo of a rotation',
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}
