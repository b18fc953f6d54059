/**
 * Sets up a development server at its first start: an admin client, an API with a client and a person, and a file with
 * their credentials. If the file exists, later starts change nothing.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createAccount, findAccountByEmail, lockAccount, updateAccount } from '../accounts/account.ts';
import { hashPassword } from '../accounts/password.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { PasswordRules } from '../passwords/password_rules.ts';
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
  /** An unused client, to try secret rotation with. */
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
  /** Whether the database is the embedded one in the folder of `file`. */
  readonly databaseIsOwn: boolean;
  readonly trail: AuditTrail;
  readonly vault: Vault;
  readonly argon2id: Argon2id;
  readonly passwordRules: PasswordRules;
  readonly now: Date;
}

const ADMIN = 'gatehouse-admin';
const DEMO = 'gatehouse-demo';
const THROWAWAY = 'gatehouse-throwaway';
const DEMO_EMAIL = 'demo@example.com';
const DEMO_NAME = 'Demo Person';
/** In base 62, as long as the longest minimum that may be set. */
const DEMO_PASSWORD_BYTES = 48;
const DEMO_REDIRECT_URI = 'http://127.0.0.1:8080/callback';
const DEMO_API = {
  identifier: 'https://api.example.com',
  display_name: 'Notes',
  scopes: [
    { name: 'notes:read', description: 'Read your notes', access: 'read' },
    { name: 'notes:write', description: 'Write and delete your notes', access: 'write' },
  ],
};

/**
 * Returns the content of the file. Creates the objects and the file if it is missing, has another issuer, or comes from
 * a version with fewer admin scopes.
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

/** Returns `undefined` if the file is missing or incomplete. */
export async function readBootstrap(file: string): Promise<Bootstrap | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Bootstrap;
  } catch {
    return undefined;
  }
}

/** Writes the database first and the file last: after an interrupted start, the next one creates new secrets. */
async function create({
  issuer,
  file,
  adminApi,
  database,
  databaseIsOwn,
  trail,
  vault,
  argon2id,
  passwordRules,
  now,
}: DevelopmentSettings): Promise<Bootstrap> {
  const pepper = await vault.current('pepper', now);
  const owner = { email: DEMO_EMAIL, name: DEMO_NAME };
  const password = base62(randomBytes(DEMO_PASSWORD_BYTES));
  await passwordRules.require(password, owner);
  const password_hash = await hashPassword(argon2id, password);
  const bootstrap = await transact(database, async (tx): Promise<Bootstrap> => {
    if (!databaseIsOwn) await requireDevelopmentDatabase(tx);
    const work: UnitOfWork = { tx, trail, origin: SYSTEM, now };
    const admin = await ensureClient(work, pepper, ADMIN, adminClientSettings('Gatehouse admin', adminApi));
    await ensureDemoResource(work);
    const demo = await ensureClient(work, pepper, DEMO, demoClientSettings(issuer));
    const throwaway = await ensureClient(work, pepper, THROWAWAY, throwawayClientSettings());
    await ensureDemoAccount(work, password_hash);
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

/** Refuses a database with clients that no development server created, because others may rely on it. */
async function requireDevelopmentDatabase(tx: Tx): Promise<void> {
  if (await readClient(tx, ADMIN)) return;
  const others = await tx.selectFrom('clients').select('client_id').limit(1).execute();
  if (others.length === 0) return;
  throw new CannotStart(
    'The database in DATABASE_URL has clients that no development server created: set NODE_ENV to production, or DATABASE_URL to a development database.',
  );
}

/** Writes a new file and renames it, so that no program reads an incomplete one. */
async function writeBootstrap(file: string, bootstrap: Bootstrap): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    // an existing file is incomplete from an interrupted start, or a trap: do not write through it
    await rm(`${file}.new`, { force: true });
    await writeFile(`${file}.new`, `${JSON.stringify(bootstrap, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
    await rename(`${file}.new`, file);
  } catch (error) {
    throw new CannotStart(
      `${file} cannot be written: ${(error as Error).message}. Set GATEHOUSE_DATA_DIR to a folder that this user may write to.`,
      { cause: error },
    );
  }
}

async function ensureDemoResource(work: UnitOfWork): Promise<void> {
  const known = (await listResources(work.tx)).some((resource) => resource.identifier === DEMO_API.identifier);
  if (!known) await createResource(work, NewResource.parse(DEMO_API));
}

async function ensureDemoAccount(work: UnitOfWork, password_hash: string): Promise<void> {
  const known = await findAccountByEmail(work.tx, DEMO_EMAIL);
  if (known) await updateAccount(work, await lockAccount(work.tx, known.accountId), { password_hash });
  else await createAccount(work, { email: DEMO_EMAIL, email_verified: true, name: DEMO_NAME, password_hash });
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
