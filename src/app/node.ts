/** What a node is made of: one of each part, given to one another. */
import type { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { availableParallelism } from 'node:os';
import type pg from 'pg';
import { ADMIN_SCOPES, adminResourceIdentifier } from '../admin/admin.ts';
import { AuditKeys } from '../audit/audit_keys.ts';
import { Checkpoints } from '../audit/checkpoints.ts';
import { SYSTEM } from '../audit/events.ts';
import { OutageBuffer } from '../audit/outage_buffer.ts';
import { makePartitions } from '../audit/partitions.ts';
import { AuditTrail } from '../audit/trail.ts';
import { Argon2id } from '../password_hashing/argon2id.ts';
import { addSeconds, type Clock } from '../base/clock.ts';
import { FaultLog } from '../base/fault_log.ts';
import type { Digest } from '../base/secret.ts';
import { ensureAdminResource, type AdminApi } from '../bootstrap/admin_access.ts';
import { InvalidationFollower } from '../invalidation/follower.ts';
import { ClientDirectory } from '../clients/client_directory.ts';
import { SecretUses } from '../clients/secret_uses.ts';
import { createSubjects } from '../clients/subject.ts';
import { type Config } from '../config.ts';
import { Breaker } from '../db/breaker.ts';
import { ClockDifference } from '../db/clock_difference.ts';
import type { Database } from '../db/connection.ts';
import { guard } from '../db/connections.ts';
import { asOwner } from '../db/roles.ts';
import { transact } from '../db/transaction.ts';
import type { Resolve } from '../egress/addresses.ts';
import { Egress } from '../egress/egress.ts';
import { ClientCertificates } from '../http/client_certificates.ts';
import { CookieSignatures } from '../http/cookie_signatures.ts';
import { KeyRing } from '../keys/key_ring.ts';
import { KeyRotation } from '../keys/rotation.ts';
import { TokenVerifier } from '../keys/token_verifier.ts';
import { FailedAuthentications } from '../limits/failed_authentications.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import { RateLimiter } from '../limits/rate_limiter.ts';
import type { Logger } from '../log.ts';
import { Outbox } from '../outbox/outbox.ts';
import { AccessTokenStates } from '../oidc/tokens/access_token_state.ts';
import { pingDelivery } from '../oidc/ciba/ping_delivery.ts';
import { RefreshTokenFamilies } from '../oidc/storage/refresh_token_families.ts';
import { RevokedTokens } from '../oidc/tokens/revoked_tokens.ts';
import { UnansweredUses } from '../oidc/request/unanswered_uses.ts';
import { AuthorizationDetailsTypes } from '../resources/details_type_directory.ts';
import { ResourceDirectory } from '../resources/resource_directory.ts';
import { IssuerDirectory } from '../trust/issuer_directory.ts';
import { StatementVerifier } from '../trust/statement_verifier.ts';
import type { MasterKey } from '../vault/master_key.ts';
import { PolicyDirectory } from '../registration/policy_directory.ts';
import { ensureMcpPolicy } from '../registration/mcp_policy.ts';
import { Vault } from '../vault/vault.ts';
import type { SiblingWorkers } from './sibling_workers.ts';
import { OutageMode } from './outage_mode.ts';

export interface AppSettings {
  readonly config: Config;
  readonly pool: pg.Pool;
  readonly database: Database;
  readonly databaseUrl: string;
  /** For LISTEN, which wakes this node when something changed; without it the poll alone brings the news. */
  readonly connectionString: string | undefined;
  readonly masterKeys: readonly [MasterKey, ...MasterKey[]];
  readonly log: Logger;
  /** How many lines of the log could not be written; where that is not told, none. */
  readonly linesDropped?: () => number;
  readonly clock: Clock;
  /** Whose client certificates prove a name, as their file says now. */
  readonly clientAuthorities: () => readonly X509Certificate[];
  /** Where several processes share the work of this node. */
  readonly siblings?: SiblingWorkers | undefined;
  /** Stands for `dns.lookup` in tests. */
  readonly resolve?: Resolve;
  /** An authority that the guarded way out trusts, in tests; everywhere else that is Node's to know. */
  readonly ca?: string;
}

/** How much of a look at the database may go into writing what is held. */
const HELD_WRITING_MILLISECONDS = 100;

export type Node = Awaited<ReturnType<typeof createNode>>;

/** Everything that this node has one of, ready for use: keys and caches are loaded, and followed from here on. */
export async function createNode({
  config,
  pool,
  database,
  databaseUrl,
  connectionString,
  masterKeys,
  log,
  clock,
  clientAuthorities,
  siblings,
  resolve = lookup,
  ca,
}: AppSettings) {
  const { issuer } = config;
  const difference = new ClockDifference({
    clock,
    atMostSeconds: config.clockDifferenceSeconds,
    onChange: ({ tooFar, seconds }) =>
      tooFar ? log.error({ seconds }, 'clock.differs') : log.info({ seconds }, 'clock.agrees'),
  });
  await difference.demandAgreement(database);
  const now = clock();
  const vault = new Vault(database, masterKeys);
  await vault.verify();
  // an audit event's fields are ours and hold no secret: looking for one in each of them would be paid at every token
  const auditLog = log.child({ stream: 'audit' }, { redact: [] });
  await asOwner(config.ownerDatabaseUrl, database, (owner) => makePartitions(owner, now)).catch((error: unknown) =>
    log.warn({ error }, 'audit.partitions_not_made'),
  );
  const auditKeys = await AuditKeys.open(database, vault, now);
  // while the database is away this is met at each poll
  const changeLogFaults = new FaultLog(log, {
    begins: 'change_log.unreadable',
    goesOn: 'change_log.still_unreadable',
    ends: 'change_log.readable_again',
  });
  const unreadable = (error: unknown): void => changeLogFaults.failed('change_log', { error });
  const changes = new InvalidationFollower({
    database,
    connectionString,
    pollMilliseconds: config.changePollMilliseconds,
    clock,
    onError: unreadable,
    onReplaced: (why) => {
      log.warn({ why }, 'database.replaced');
      // what it lacks of the trail is on record soon
      void checkpoints.make().catch((error: unknown) => log.warn({ error }, 'audit.checkpoint_not_made'));
    },
    atRest: () => breaker.atRest,
    catchUpOthers: siblings && (() => siblings.catchUp()),
  });
  siblings?.onCatchUp(() => changes.catchUpHere());
  const breaker = new Breaker({
    connectionString: databaseUrl,
    patienceMilliseconds: config.databasePatienceMilliseconds,
    clock,
    difference,
    onOpen: (error) => log.error({ error }, 'database.away'),
    onClose: () => {
      log.info('database.back');
      changeLogFaults.worked('change_log', {});
    },
  });
  breaker.onClose(() => void changes.catchUpHere().catch(unreadable));
  const identity = (): string | undefined => changes.identity;
  const held = new OutageBuffer({ keys: auditKeys, clock, entriesAtMost: config.outageAuditEvents, identity });
  const standing = new OutageMode({ breaker, changes, held, allowedSeconds: config.outageSeconds });
  const trail = new AuditTrail({
    database,
    keys: auditKeys,
    log: auditLog,
    clock,
    identity,
    outage: standing,
    networkOf,
  });
  const { auditRetentionDays: retentionDays } = config;
  const checkpoints = new Checkpoints({ database, keys: auditKeys, trail, clock, log, retentionDays });
  const argon2id = new Argon2id(Math.min(2, availableParallelism()));
  const adminApi: AdminApi = { identifier: adminResourceIdentifier(issuer), scopes: ADMIN_SCOPES };
  await transact(database, (tx) => ensureAdminResource({ tx, trail, origin: SYSTEM, now }, adminApi));

  if (config.profile === 'mcp') {
    await transact(database, (tx) => ensureMcpPolicy({ tx, trail, origin: SYSTEM, now }));
  }

  const clients = new ClientDirectory(database);
  const resources = new ResourceDirectory(database);
  const detailsTypes = new AuthorizationDetailsTypes(database);
  const ring = new KeyRing(database, vault);
  const revoked = new RevokedTokens(database);
  const egress = new Egress({ allow: config.egressAllow, resolve, clock, log, ...(ca !== undefined && { ca }) });
  const policies = new PolicyDirectory(database);
  const issuers = new IssuerDirectory({ database, egress, log });
  const rotation = new KeyRotation({
    database,
    vault,
    trail,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    rotationDays: config.keyRotationDays,
    rsaBits: config.rsaBits,
  });
  await rotation.ensureKeys(now);

  changes.on('client', (clientId) => clients.drop(clientId));
  changes.on('resource', () => resources.load());
  // what a policy gives is part of each client under it
  changes.on('registration_policy', async () => {
    clients.dropAll();
    await policies.load();
  });
  changes.on('trusted_issuer', () => issuers.load());
  changes.on('authorization_details_type', () => detailsTypes.load());
  changes.on('signing_keys', () => ring.load());
  changes.on('revoked_token', (jti) => revoked.add(jti, clock()));
  const outbox = new Outbox({ database, vault, egress, trail, clock, log });
  outbox.serve(pingDelivery(clients));
  changes.on('outbox', () => outbox.wake());
  changes.onReset(async () => {
    void clients.reload();
    // before what is signed with them
    await ring.load();
    await Promise.all([resources.load(), detailsTypes.load(), issuers.load(), policies.load(), revoked.load(clock())]);
  });
  // first the log, then what it keeps fresh: no change can fall between the two
  await changes.start();
  await Promise.all([
    resources.load(),
    detailsTypes.load(),
    ring.load(),
    issuers.load(),
    policies.load(),
    revoked.load(now),
  ]);

  const browserKey = await vault.current('cookies', now);
  const { sha256_from: sha256From } = await database
    .selectFrom('cookie_signatures')
    .selectAll()
    .executeTakeFirstOrThrow();
  const cookieSignatures = new CookieSignatures({
    key: browserKey.digest('signs cookies with SHA-256'),
    formerKey: browserKey.digest('signs cookies').toString('base64url'),
    sha256From,
    sha1Until: addSeconds(sha256From, config.sessionTtlSeconds),
    clock,
  });
  const digestUserCode = (userCode: string): Digest => browserKey.digest(`user code ${userCode}`);
  const digestAttempt = (attempt: string): Digest => browserKey.digest(`attempt ${attempt}`);
  const refreshFamilies = new RefreshTokenFamilies(browserKey.digest('marks refresh tokens'));
  const dpopNonceKey = await vault.current('dpop_nonces', now);
  const dpopNonceSecret = dpopNonceKey.digest('makes DPoP nonces');
  const subjectKey = await vault.current('pairwise_subjects', now);
  const subjects = createSubjects(subjectKey);
  changes.onReset(() => vault.demand([browserKey, dpopNonceKey, subjectKey]));
  const tokens = new AccessTokenStates({
    database,
    verifier: new TokenVerifier(ring, issuer),
    clients,
    revoked,
    isTrusted: (name) => issuers.isTrusted(name),
    vouch: standing.vouch,
  });
  const uses = new SecretUses(database);
  const traffic = new RateLimiter({
    perClient: config.clientRequests,
    perAddress: config.addressRequests,
    latestMilliseconds: config.overloadMilliseconds,
    others: siblings,
  });
  const failures = new FailedAuthentications(pool, config.failedAuthenticationsPerMinute, siblings);
  const seesCertificates = config.tls !== undefined || config.clientCertificateHeader !== undefined;
  const clientCertificates = seesCertificates
    ? new ClientCertificates({
        header: config.clientCertificateHeader,
        trustedProxies: config.trustedProxies,
        authorities: clientAuthorities,
      })
    : undefined;
  const unansweredUses = new UnansweredUses({ database, trail, clock, log, lastAbsence: () => breaker.lastAbsence });
  breaker.alsoTry(async (itsDatabase) => {
    await unansweredUses.settle(itsDatabase);
    await trail.writeHeld(itsDatabase, HELD_WRITING_MILLISECONDS);
  });
  guard(pool, breaker);
  // its connection is open before it is needed in a hurry
  await breaker.check();
  breaker.start();
  return {
    traffic,
    failures,
    breaker,
    difference,
    standing,
    clientCertificates,
    vault,
    cookieSignatures,
    digestUserCode,
    digestAttempt,
    dpopNonceSecret,
    refreshFamilies,
    subjects,
    trail,
    unanswered: unansweredUses,
    auditKeys,
    checkpoints,
    argon2id,
    adminApi,
    clients,
    resources,
    detailsTypes,
    ring,
    revoked,
    rotation,
    changes,
    tokens,
    uses,
    egress,
    statements: new StatementVerifier(issuers),
    outbox,
    policies,
  };
}
