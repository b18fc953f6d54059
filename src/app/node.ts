/** Creates a node: its features, each with its dependencies as arguments, and the endpoints that use them. */
import { lookup } from 'node:dns/promises';
import { PasswordCheck } from '../accounts/password_check.ts';
import { createAccountLinks } from '../account_links/account_links.ts';
import { ADMIN_SCOPES, adminResourceIdentifier, createAdmin } from '../admin/admin.ts';
import { createAudit } from '../audit/audit.ts';
import { AuditKeys } from '../audit/audit_keys.ts';
import { SYSTEM } from '../audit/events.ts';
import { ensureAdminResource } from '../bootstrap/admin_access.ts';
import { bootstrapDevelopment, readBootstrap, type Bootstrap } from '../bootstrap/development.ts';
import { createClients } from '../clients/clients.ts';
import { bootstrapFile } from '../config.ts';
import type { ClockDifference } from '../db/clock_difference.ts';
import { transact } from '../db/transaction.ts';
import { FACTOR_DISABLERS } from '../factors/factor_disablers.ts';
import { createFactors } from '../factors/factors.ts';
import { acrValues } from '../accounts/authentication_context.ts';
import { createEgress } from '../egress/egress.ts';
import { ClientCertificates } from '../http/client_certificates.ts';
import type { Metrics } from '../http/metrics.ts';
import { createKeys } from '../keys/keys.ts';
import type { Feature } from '../lifecycle/feature.ts';
import { startFeatures } from '../lifecycle/lifecycle.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import { createRateLimits } from '../limits/limits.ts';
import { createLogin, createProviderPages } from '../login/login.ts';
import { createMail } from '../mail/mail.ts';
import { createMaintenance } from '../maintenance/maintenance.ts';
import { createDescriptions, createOidc } from '../oidc/oidc.ts';
import { createOutbox } from '../outbox/outbox.ts';
import { createPasswordHashing } from '../password_hashing/password_hashing.ts';
import { createPasswords } from '../passwords/passwords.ts';
import { ensureMcpPolicy } from '../registration/mcp_policy.ts';
import { createRegistration } from '../registration/registration.ts';
import { createResources } from '../resources/resources.ts';
import { scopesOfAccount, soleScopesOfAccount } from '../roles/held_scopes.ts';
import { createRoles } from '../roles/roles.ts';
import { createTrust } from '../trust/trust.ts';
import { Vault } from '../vault/vault.ts';
import type { AppSettings } from './app_settings.ts';
import { followChangeLog } from './cache_invalidation.ts';
import { compareClocks, watchDatabase } from './database_watch.ts';
import { deriveKeys } from './derived_keys.ts';
import { createOutageMode } from './outage_mode.ts';
import { createRequestPipeline, type RequestPipeline } from './request_pipeline.ts';

export interface Node {
  /** The features in the order in which they start. They stop in the reverse order. */
  readonly features: readonly Feature[];
  readonly difference: ClockDifference;
  readonly pipeline: RequestPipeline;
  readonly bootstrap: () => Promise<Bootstrap>;
}

/** The time that each probe of the database may spend on writing held audit entries. */
const HELD_WRITING_MILLISECONDS = 100;

/** Creates a node. When this resolves, keys and caches are loaded and follow the change log. */
export async function createNode(settings: AppSettings, metrics: Metrics): Promise<Node> {
  const { config, pool, database, databaseUrl, connectionString, log, clock, siblings } = settings;
  const { issuer } = config;
  const isFirst = siblings?.first ?? true;

  const clocks = await compareClocks({ ...config, database, clock, log });
  const { difference } = clocks;
  const vault = new Vault(database, settings.masterKeys);
  await vault.verify();
  const basics = { ...config, database, vault, clock, log };

  const databaseWatch = watchDatabase({ ...basics, pool, databaseUrl, difference });
  const { breaker } = databaseWatch;
  const changeLog = followChangeLog({ ...basics, connectionString, breaker, siblings });
  const { changes } = changeLog;
  const auditKeys = await AuditKeys.open(database, vault, clock());
  const outageMode = createOutageMode({ ...basics, breaker, changes, auditKeys });
  const { outage } = outageMode;
  const audit = await createAudit({ ...basics, auditKeys, outage, identity: () => changes.identity, networkOf });
  const { trail } = audit;

  const adminApi = { identifier: adminResourceIdentifier(issuer), scopes: ADMIN_SCOPES };
  const change = { trail, origin: SYSTEM, now: clock() };
  await transact(database, (tx) => ensureAdminResource({ ...change, tx }, adminApi));
  if (config.profile === 'mcp') await transact(database, (tx) => ensureMcpPolicy({ ...change, tx }));

  const derivedKeys = await deriveKeys(basics);
  const { digestAttempt, cookieSignatures } = derivedKeys;
  const rateLimits = createRateLimits({ ...basics, pool, digestAttempt, siblings });
  const { secretGuesses, rateLimiter } = rateLimits;
  const passwordHashing = createPasswordHashing();
  const { argon2id } = passwordHashing;
  const clientStore = createClients({ ...basics, argon2id, secretGuesses, warnsOfRefused: isFirst });
  const { clients } = clientStore;
  const apis = createResources({ database, trail });
  const personRoles = createRoles({ database, adminResource: adminApi.identifier });
  const { roles } = personRoles;
  const keys = await createKeys({ ...basics, trail });
  const outgoing = createEgress({ ...basics, resolve: settings.resolve ?? lookup, ca: settings.ca });
  const { egress } = outgoing;
  const secondFactors = createFactors({ ...basics, ...derivedKeys, explains: isFirst });
  const { factors } = secondFactors;
  const passwords = createPasswords({ ...config, egress });
  const { passwordRules } = passwords;
  const trust = createTrust({ database, egress, log });
  const messages = createOutbox({ ...basics, egress, trail, delivers: isFirst });
  const { outbox } = messages;
  const { mailer, developmentMails } = createMail({ ...config, vault, outbox });
  const accountLinks = createAccountLinks({ issuer, database, trail, outbox, mailer, disablers: FACTOR_DISABLERS });
  const { statements } = trust;
  const shared = { ...basics, ...clientStore, ...rateLimits, trail, changes, egress, statements };
  const registration = createRegistration(shared);
  const maintenance = createMaintenance({ database, clock });

  const clientCertificates = clientCertificatesOf(settings);
  const descriptions = createDescriptions({ ...config, ...apis, clients });
  const pages = createProviderPages({ issuer, ...descriptions, development: !config.production });
  const oidc = createOidc({
    ...shared,
    ...derivedKeys,
    ...apis,
    ...keys,
    roles,
    documents: registration.documents,
    outbox,
    pages,
    clientCertificates,
    adminBases: [issuer, config.mtlsUrl, config.adminUrl].filter((base) => base !== undefined),
    acrValues: acrValues({ passkeys: factors.passkeys !== undefined }),
    isTrustedIssuer: (name) => trust.issuers.isTrusted(name),
    vouch: outage.vouch,
    lastAbsence: () => breaker.lastAbsence,
  });
  breaker.alsoTry(async (probeDatabase) => {
    const areSettled = await oidc.settleUnansweredUses(probeDatabase);
    return (await trail.writeHeld(probeDatabase, HELD_WRITING_MILLISECONDS)) && areSettled;
  });

  const features = [
    databaseWatch.feature,
    outageMode.feature,
    audit.feature,
    clientStore.feature,
    changeLog.feature,
    clocks.feature,
    outgoing.feature,
    derivedKeys.feature,
    keys.feature,
    apis.feature,
    personRoles.feature,
    trust.feature,
    registration.feature,
    secondFactors.feature,
    oidc.feature,
    messages.feature,
    passwordHashing.feature,
    passwords.feature,
    rateLimits.feature,
    maintenance.feature,
  ];
  await startFeatures(changes, features);

  const login = createLogin({
    ...basics,
    ...descriptions,
    ...oidc.forLogin,
    ...accountLinks,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    passwordRules,
    argon2id,
    attempts: rateLimits.loginAttempts,
    factors,
    isAdmin: async (reader, accountId) => (await scopesOfAccount(reader, adminApi.identifier, accountId)).length > 0,
    soleAdminScopes: (tx, accountId) => soleScopesOfAccount(tx, adminApi.identifier, accountId),
    mailRequests: rateLimits.mailRequests,
    digestReceiver: (email) => digestAttempt(`mail ${email}`).toString('base64url'),
    developmentMails,
    showsAdminApi: config.adminPort === undefined,
    demo: config.production ? undefined : async () => (await readBootstrap(bootstrapFile(config)))?.demo,
  });
  const admin = createAdmin({
    ...basics,
    ...oidc.forAdmin,
    ...accountLinks,
    trail,
    auditKeys,
    checkpoints: audit.checkpoints,
    changes,
    clients,
    argon2id,
    loginAttempts: rateLimits.loginAttempts,
    passwordRules,
    rotation: keys.rotation,
    subjects: derivedKeys.subjects,
    fetchDocument: registration.fetchForAdmin,
  });
  const pipeline = createRequestPipeline({
    config,
    breaker,
    difference,
    rateLimiter,
    cookieSignatures,
    clientCertificates,
    oidc,
    login,
    admin,
    registration,
    notFoundPage: pages.notFound,
    metrics,
    clock,
    log,
  });
  return { features, difference, pipeline, bootstrap };

  async function bootstrap(): Promise<Bootstrap> {
    const made = await bootstrapDevelopment({
      issuer,
      file: bootstrapFile(config),
      adminApi,
      database,
      databaseIsOwn: config.databaseUrl === undefined,
      trail,
      vault,
      argon2id,
      passwordRules,
      now: clock(),
    });
    await changes.catchUp();
    return made;
  }
}

/** Returns `undefined` if this server receives no client certificates. */
function clientCertificatesOf({ config, clientAuthorities }: AppSettings): ClientCertificates | undefined {
  const { tls, clientCertificateHeader: header, trustedProxies } = config;
  if (tls === undefined && header === undefined) return undefined;
  return new ClientCertificates({ header, trustedProxies, authorities: clientAuthorities });
}
