/** Where the parts meet, and nowhere else. */
import { lookup } from 'node:dns/promises';
import type { RequestListener } from 'node:http';
import Koa from 'koa';
import { sql } from 'kysely';
import type pg from 'pg';
import { PasswordCheck } from './accounts/password_check.ts';
import { ADMIN_SCOPES, adminResourceIdentifier, createAdmin } from './admin/admin.ts';
import { SYSTEM } from './audit/events.ts';
import { AuditTrail } from './audit/trail.ts';
import { Argon2id } from './base/argon2id.ts';
import type { Clock } from './base/clock.ts';
import { ensureAdminResource, type AdminApi } from './bootstrap/admin_access.ts';
import { bootstrapDevelopment, type Bootstrap } from './bootstrap/development.ts';
import { ChangeFollower } from './changes/change_follower.ts';
import { ClientDirectory } from './clients/client_directory.ts';
import { SecretUses } from './clients/secret_uses.ts';
import { SecretVerifier } from './clients/secret_verifier.ts';
import { bootstrapFile, type Config } from './config.ts';
import type { Database } from './db/connection.ts';
import { transact } from './db/transaction.ts';
import type { Resolve } from './egress/addresses.ts';
import { Egress } from './egress/egress.ts';
import { clientAddress } from './http/client_address.ts';
import { management, type Readiness } from './http/management.ts';
import { Metrics } from './http/metrics.ts';
import { pinToIssuer } from './http/mount.ts';
import { pageHeaders } from './http/page_headers.ts';
import { requestContext } from './http/request_context.ts';
import { unanswered } from './http/unanswered.ts';
import { KeyRing } from './keys/key_ring.ts';
import { KeyRotation } from './keys/rotation.ts';
import { TokenVerifier } from './keys/token_verifier.ts';
import { LoginAttempts } from './limits/login_attempts.ts';
import { SecretGuesses } from './limits/secret_guesses.ts';
import type { Logger } from './log.ts';
import { createLogin } from './login/login.ts';
import { createProviderPages } from './login/provider_pages.ts';
import { removeExpiredRows } from './maintenance/expired_rows.ts';
import { Scheduler } from './maintenance/scheduler.ts';
import { AccessTokens } from './oidc/access_tokens.ts';
import { describeClient, describeScopes } from './oidc/descriptions.ts';
import { Endpoints } from './oidc/endpoints.ts';
import { createProvider, METHODS } from './oidc/provider.ts';
import { ResourcePolicy } from './oidc/resource_policy.ts';
import { RevokedTokens } from './oidc/revoked_tokens.ts';
import { StructuredTokens } from './oidc/structured_tokens.ts';
import { ResourceDirectory } from './resources/resource_directory.ts';
import type { MasterKey } from './vault/master_key.ts';
import { Vault } from './vault/vault.ts';

export interface AppSettings {
  readonly config: Config;
  readonly pool: pg.Pool;
  readonly database: Database;
  /** For LISTEN, which wakes this node when something changed; without it the poll alone brings the news. */
  readonly connectionString: string | undefined;
  readonly masterKeys: readonly [MasterKey, ...MasterKey[]];
  readonly log: Logger;
  readonly clock: Clock;
  /** Stands for `dns.lookup` in tests. */
  readonly resolve?: Resolve;
}

export interface App {
  /** Answers the public: the protocol, the pages, the admin API. */
  readonly public: RequestListener;
  /** Answers admins, where that was given a port of its own; then `public` doesn't. */
  readonly admin: RequestListener | undefined;
  /** Answers probes and scrapers. */
  readonly management: RequestListener;
  /** Makes what development starts with, or finds it as it was left. */
  bootstrap(): Promise<Bootstrap>;
  /** From now on `/readyz` says no, so that a load balancer looks elsewhere. */
  beginDraining(): void;
  /** After the last request: writes what waits and lets go of everything. */
  stop(): Promise<void>;
}

/** Builds a node on an open, migrated database: when this resolves it can answer. */
export async function createApp(settings: AppSettings): Promise<App> {
  const house = await furnish(settings);
  const scheduler = startJobs(settings, house);
  const metrics = new Metrics();
  gauges(metrics, settings, house);
  let draining = false;
  return {
    ...front(settings, house, metrics),
    management: management({ metrics, readiness: () => readiness(settings, house, draining) }),
    bootstrap: () => bootstrap(settings, house),
    beginDraining() {
      draining = true;
    },
    async stop() {
      await scheduler.stop();
      await house.changes.stop();
      await house.uses.write().catch((error: unknown) => settings.log.warn({ error }, 'secret_uses.lost'));
    },
  };
}

type House = Awaited<ReturnType<typeof furnish>>;

async function furnish({ config, database, connectionString, masterKeys, log, clock, resolve = lookup }: AppSettings) {
  const { issuer } = config;
  const now = clock();
  const vault = new Vault(database, masterKeys);
  await vault.verify();
  // an audit event's fields are ours and hold no secret: looking for one in each of them would be paid at every token
  const auditLog = log.child({ stream: 'audit' }, { redact: [] });
  const trail = new AuditTrail({ database, log: auditLog, clock });
  const argon2id = new Argon2id(2);
  const adminApi: AdminApi = { identifier: adminResourceIdentifier(issuer), scopes: ADMIN_SCOPES };
  await transact(database, (tx) => ensureAdminResource({ tx, trail, origin: SYSTEM, now }, adminApi));

  const clients = new ClientDirectory(database);
  const resources = new ResourceDirectory(database);
  const ring = new KeyRing(database, vault);
  const revoked = new RevokedTokens(database);
  const rotation = new KeyRotation({
    database,
    vault,
    trail,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    rotationDays: config.keyRotationDays,
  });
  await rotation.ensureKeys(now);

  const changes = new ChangeFollower({
    database,
    connectionString,
    pollMilliseconds: config.changePollMilliseconds,
    clock,
    onError: (error) => log.warn({ error }, 'change_log.unreadable'),
  });
  changes.on('client', (clientId) => clients.drop(clientId));
  changes.on('resource', () => resources.load());
  changes.on('signing_keys', () => ring.load());
  changes.on('revoked_token', (jti) => revoked.add(jti, clock()));
  changes.onReset(async () => {
    clients.dropAll();
    await Promise.all([resources.load(), ring.load(), revoked.load(clock())]);
  });
  // first the log, then what it keeps fresh: no change can fall between the two
  await changes.start();
  await Promise.all([resources.load(), ring.load(), revoked.load(now)]);

  const cookieKey = (await vault.current('cookies', now)).digest('signs cookies').toString('base64url');
  const dpopNonceSecret = (await vault.current('dpop_nonces', now)).digest('makes DPoP nonces');
  const tokens = new AccessTokens({ database, verifier: new TokenVerifier(ring, issuer), clients, revoked });
  const uses = new SecretUses(database);
  const egress = new Egress({ allow: config.egressAllow, resolve, clock, log });
  return {
    vault,
    cookieKey,
    dpopNonceSecret,
    trail,
    argon2id,
    adminApi,
    clients,
    resources,
    ring,
    revoked,
    rotation,
    changes,
    tokens,
    uses,
    egress,
  };
}

/** The public's listener, and the admin API's where it has a port of its own. */
function front(settings: AppSettings, house: House, metrics: Metrics): Pick<App, 'public' | 'admin'> {
  const { config, pool, database, log, clock } = settings;
  const { issuer } = config;
  const { trail, changes, clients, resources, tokens, vault, argon2id, rotation, egress } = house;
  const cookieKeys = [house.cookieKey];
  const pages = createProviderPages(issuer);
  const endpoints = new Endpoints({
    trail,
    structured: new StructuredTokens({ tokens, database, trail, changes }),
    renderError: pages.renderError,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    log,
  });
  const guesses = new SecretGuesses();
  const verifier = new SecretVerifier(vault, argon2id, (clientId) => guesses.mayCompare(clientId));
  const swap = (): void =>
    endpoints.use(
      createProvider(
        {
          ...config,
          database,
          clock,
          egress,
          clients: { directory: clients, verifier, uses: house.uses, clock, keys: { egress, clock, log } },
          policy: new ResourcePolicy(resources),
          pages,
          cookieKeys,
          dpopNonceSecret: house.dpopNonceSecret,
        },
        house.ring.privateJwks,
      ),
    );
  swap();
  house.ring.onSwap(swap);

  const login = createLogin({
    provider: () => endpoints.provider,
    database,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    attempts: new LoginAttempts(pool),
    describeClient: describeClient(clients),
    describeScopes: describeScopes(resources, issuer),
    issuer,
    log,
  });
  const admin = createAdmin({
    issuer,
    database,
    vault,
    trail,
    changes,
    clients,
    argon2id,
    rotation,
    inspectToken: (token, now) => tokens.inspect(token, now),
    log,
  });
  const apart = config.adminPort !== undefined;
  const last = unanswered({ methods: METHODS, page: pages.unanswered });
  return {
    public: listener(settings, house, metrics, [
      login,
      ...(apart ? [] : [admin]),
      pageHeaders,
      endpoints.middleware,
      last,
    ]),
    admin: apart ? listener(settings, house, metrics, [admin, last]) : undefined,
  };
}

/** What every request passes first, then who answers which path. */
function listener(
  { config, clock, log }: AppSettings,
  { cookieKey }: House,
  metrics: Metrics,
  answers: readonly Koa.Middleware[],
): RequestListener {
  const app = new Koa();
  app.keys = [cookieKey];
  app.on('error', (error: unknown) => log.error({ error }, 'request.failed'));
  app.use(requestContext(clock, clientAddress(config.trustedProxies)));
  app.use(pinToIssuer(app, config.issuer));
  app.use(
    metrics.measure(['/admin/v1', '/interaction', '/account', '/assets', '/.well-known', ...Object.keys(METHODS)]),
  );
  for (const answer of answers) app.use(answer);
  const answer = app.callback();
  return (request, response) => void answer(request, response);
}

function startJobs({ database, clock, log }: AppSettings, house: House): Scheduler {
  const scheduler = new Scheduler((job, error) => log.warn({ job, error }, 'job.failed'));
  scheduler.start([
    { name: 'key_rotation', everyMilliseconds: 60_000, run: () => house.rotation.runSchedule(clock()) },
    { name: 'expired_rows', everyMilliseconds: 60_000, run: () => removeExpiredRows(database, clock()) },
    { name: 'secret_uses', everyMilliseconds: 20_000, run: () => house.uses.write() },
    { name: 'revoked_tokens', everyMilliseconds: 300_000, run: async () => house.revoked.forgetExpired(clock()) },
  ]);
  return scheduler;
}

function gauges(metrics: Metrics, { pool }: AppSettings, house: House): void {
  metrics.gauge(
    'gatehouse_audit_events_waiting',
    'Requests whose audit events are not written yet.',
    () => house.trail.waiting,
  );
  metrics.gauge(
    'gatehouse_change_log_age_seconds',
    'How long ago this node last read the change log.',
    () => house.changes.ageMilliseconds() / 1000,
  );
  metrics.gauge('gatehouse_database_connections', 'Connections open to the database.', () => pool.totalCount);
  metrics.gauge('gatehouse_database_connections_idle', 'Connections that wait for work.', () => pool.idleCount);
  metrics.gauge('gatehouse_database_requests_waiting', 'Queries that wait for a connection.', () => pool.waitingCount);
}

/** A node that hasn't read the change log for this long may not know who was revoked. */
const CHANGE_LOG_STALE_MILLISECONDS = 5_000;

async function readiness({ database }: AppSettings, house: House, draining: boolean): Promise<Readiness> {
  const reachable = await sql`select 1`.execute(database).then(
    () => true,
    () => false,
  );
  const fresh = house.changes.ageMilliseconds() < CHANGE_LOG_STALE_MILLISECONDS;
  return {
    ready: reachable && fresh && !draining,
    checks: {
      database: reachable ? 'ok' : 'not reachable',
      change_log: fresh ? 'ok' : 'not read for a while',
      shutdown: draining ? 'draining' : 'ok',
    },
  };
}

async function bootstrap(
  { config, database, clock }: AppSettings,
  { trail, vault, argon2id, adminApi, changes }: House,
): Promise<Bootstrap> {
  const settings = {
    issuer: config.issuer,
    file: bootstrapFile(config),
    adminApi,
    database,
    trail,
    vault,
    argon2id,
    now: clock(),
  };
  const made = await bootstrapDevelopment(settings);
  await changes.catchUp();
  return made;
}
