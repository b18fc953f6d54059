/**
 * The only reader of the environment. One schema parses each variable once; one message lists all invalid variables and
 * the expected values.
 */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { ONE_OF_REQUIRABLE_ACRS, REQUIRABLE_ACRS, type RequirableAcr } from './base/acr_values.ts';
import { CannotStart } from './base/cannot_start.ts';
import { isLoopback } from './base/loopback.ts';
import type { MailTarget } from './base/mail_target.ts';
import type { ResponseMode } from './base/response_modes.ts';
import { checkPasswords, checkProduction, checkSessions, checkWorkers, checkPairs } from './config/cross_checks.ts';
import { checkPasskeys, passkeyRpId } from './config/passkeys.ts';
import {
  databaseUrl,
  domainName,
  headerName,
  issuer,
  mailbox,
  masterKey,
  networks,
  optionalWhole,
  origins,
  port,
  passwordWords,
  rangeSearch,
  responseModes,
  smtpUrl,
  whole,
  workers,
  flag,
} from './config/value_types.ts';
import { readSecretFiles, SECRET } from './config/secret_files.ts';
import { separateServiceLinks } from './config/service_links.ts';

export interface Config {
  readonly production: boolean;
  /**
   * Whether NODE_ENV is set to `development`. If it is unset, a server makes its demo client only in the embedded
   * database.
   */
  readonly developmentIsSaid: boolean;
  /** This server's identifier (RFC 8414), the `iss` of its tokens, without a slash at the end. */
  readonly issuer: string;
  /** The number of processes that share the work of this node; 1: the started process does all of it. */
  readonly workers: number;
  readonly host: string;
  /** The other loopback address, for browsers that resolve `localhost` to it; `undefined`: `host` only. */
  readonly secondHost: string | undefined;
  readonly port: number;
  /** `undefined`: the admin API shares the public listener. */
  readonly adminPort: number | undefined;
  /** The URL of the admin API besides the issuer's, without a slash at the end: DPoP proofs contain it. */
  readonly adminUrl: string | undefined;
  readonly managementHost: string;
  /** `undefined`: 9000, or any free port if 9000 is in use (development only). */
  readonly managementPort: number | undefined;
  /** `undefined`: the embedded PostgreSQL under `dataDir`. */
  readonly databaseUrl: string | undefined;
  /** The URL of the role that owns the tables and may change them; `undefined`: the user of `databaseUrl`. */
  readonly ownerDatabaseUrl: string | undefined;
  /** Of all workers together. */
  readonly databaseMaxConnections: number;
  /** How long the database may not answer before it counts as away. */
  readonly databasePatienceMilliseconds: number;
  /** How long known clients get tokens from memory while the database is away; 0: never. */
  readonly outageSeconds: number;
  /** How many audit entries may wait in memory for the database, in all workers together. */
  readonly outageAuditEvents: number;
  readonly dataDir: string;
  /** `mcp`: clients may register themselves, as the authorization of the Model Context Protocol requires. */
  readonly profile: 'standard' | 'mcp';
  /**
   * The current master key first, then older ones that may still be read. Empty in development: the server makes one
   * under `dataDir`.
   */
  readonly masterKeys: readonly Buffer[];
  /** Addresses and networks (CIDR) whose X-Forwarded-* headers the server trusts. */
  readonly trustedProxies: readonly string[];
  /** The server's own TLS listener, which requests client certificates; `undefined`: a proxy terminates TLS. */
  readonly tls:
    | { readonly host: string; readonly port: number; readonly certificateFile: string; readonly keyFile: string }
    | undefined;
  /** The authorities of client certificates, in PEM; `undefined`: no certificate proves a name. */
  readonly clientCaFile: string | undefined;
  /** The header in which trusted proxies pass client certificates, in lower case. */
  readonly clientCertificateHeader: string | undefined;
  /**
   * The base URL of the mTLS endpoints (RFC 8705, section 5), without a slash at the end; `undefined`: the issuer's.
   */
  readonly mtlsUrl: string | undefined;
  /** Origins from which the server may fetch for a client although they are not public https. */
  readonly egressAllow: readonly string[];
  readonly logLevel: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
  readonly keyRotationDays: number;
  /** The length of the modulus of new RSA keys. */
  readonly rsaBits: number;
  /** How long a verifier may cache the JWKS. A key is published at least this long before it signs. */
  readonly jwksMaxAgeSeconds: number;
  readonly refreshGraceSeconds: number;
  /** How long a refresh token may be unused. */
  readonly refreshTtlSeconds: number;
  /** How long a grant lasts, even if its refresh token is used. */
  readonly refreshAbsoluteTtlSeconds: number;
  /** How long a session may be unused. */
  readonly sessionTtlSeconds: number;
  /** How long after a login its session ends, even if it is used. */
  readonly sessionAbsoluteTtlSeconds: number;
  /** The relying party of passkeys; `undefined` if the issuer's host is an IP address, which can be none. */
  readonly passkeyRpId: string | undefined;
  /** The authentication context that each login of a person needs; `undefined`: a password is enough. */
  readonly requiredAcr: RequirableAcr | undefined;
  /** The requirements for all clients; see clients/server_requirements.ts. */
  readonly clientDemands: {
    readonly pushedRequests: boolean;
    readonly senderConstrainedTokens: boolean;
    readonly strongAuthentication: boolean;
    readonly responseModes: readonly ResponseMode[];
  };
  /** The rate for an authenticated client, on each node. */
  readonly clientRequests: RequestRate;
  /** The rate for an address, on each node, without the requests of clients that authenticate. */
  readonly addressRequests: RequestRate;
  /** How often a client may fail to authenticate from one network in a minute, on all nodes together. */
  readonly failedAuthenticationsPerMinute: number;
  /** How many clients an address may register in ten minutes, on all nodes together. */
  readonly registrationsPerAddress: number;
  /** The minimum length of a new password where it alone is a login, in characters. */
  readonly passwordMinLength: number;
  /** The same where a second factor is demanded too. */
  readonly passwordMinLengthWithSecondFactor: number;
  /** The range search for breached passwords, without a slash at the end; `undefined`: none is asked. */
  readonly breachedPasswordsUrl: string | undefined;
  /** Words of the organization that are no passwords. */
  readonly passwordWords: readonly string[];
  /** Whether the admin API takes no passwords of people. */
  readonly passwordsByLinkOnly: boolean;
  /** Where mails go; `undefined`: the server sends none. */
  readonly mail: MailTarget | undefined;
  /** How late this process's timers may be before it answers new requests with 503. */
  readonly overloadMilliseconds: number;
  /** Within this time a request that needs the database is answered, with 503 if it had to wait for too long. */
  readonly answerMilliseconds: number;
  readonly changePollMilliseconds: number;
  /** The maximum difference between this machine's clock and the database's; 0: no limit. */
  readonly clockDifferenceSeconds: number;
  /** How long audit entries are kept, at least; 0: without limit. */
  readonly auditRetentionDays: number;
  /** How long an audit entry may have no signed checkpoint. */
  readonly auditCheckpointSeconds: number;
  /** How long `/readyz` reports not ready before the listener closes, so that load balancers use other nodes first. */
  readonly shutdownDelaySeconds: number;
  /** How long running requests may take to finish after that. */
  readonly shutdownGraceSeconds: number;
  /** Names of variables that Kubernetes or Docker made for links to services. They are not settings. */
  readonly serviceLinks: readonly string[];
}

export interface RequestRate {
  readonly perSecond: number;
  /** The number of requests that may arrive at once. */
  readonly burst: number;
}

/** Invalid configuration: one sentence for each bad variable, ready to print. */
export class BadConfiguration extends CannotStart {}

const UNUSED_SESSION_SECONDS = 1_209_600;
const LONGEST_SESSION_SECONDS = 2_592_000;

const schema = z.object({
  NODE_ENV: z
    .enum(['production', 'development', 'test'], 'must be production, development or test')
    .default('development'),
  ISSUER: issuer.optional(),
  HOST: z.string().min(1).optional(),
  PORT: port.prefault('3000'),
  DATABASE_URL: databaseUrl.optional().meta(SECRET),
  LOG_LEVEL: z
    .enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
      'must be fatal, error, warn, info, debug, trace or silent',
    )
    .default('info'),
  GATEHOUSE_ADMIN_PORT: port.optional(),
  GATEHOUSE_ADMIN_URL: issuer.optional(),
  GATEHOUSE_MANAGEMENT_HOST: z.string().min(1).default('127.0.0.1'),
  GATEHOUSE_MANAGEMENT_PORT: port.optional(),
  GATEHOUSE_WORKERS: workers,
  GATEHOUSE_DATABASE_MAX_CONNECTIONS: optionalWhole(2, 500),
  GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: whole(100, 10_000, 600),
  GATEHOUSE_OUTAGE_SECONDS: whole(0, 3_600, 300),
  GATEHOUSE_OUTAGE_AUDIT_EVENTS: whole(1, 1_000_000, 100_000),
  GATEHOUSE_OWNER_DATABASE_URL: databaseUrl.optional().meta(SECRET),
  GATEHOUSE_DATA_DIR: z.string().min(1).default('.gatehouse'),
  GATEHOUSE_PROFILE: z.enum(['standard', 'mcp'], 'must be standard or mcp').default('standard'),
  GATEHOUSE_MASTER_KEY: masterKey.optional().meta(SECRET),
  GATEHOUSE_MASTER_KEY_PREVIOUS: masterKey.optional().meta(SECRET),
  GATEHOUSE_TRUSTED_PROXIES: networks,
  GATEHOUSE_TLS_HOST: z.string().min(1).optional(),
  GATEHOUSE_TLS_PORT: port.optional(),
  GATEHOUSE_TLS_CERTIFICATE_FILE: z.string().optional(),
  GATEHOUSE_TLS_KEY_FILE: z.string().optional(),
  GATEHOUSE_CLIENT_CA_FILE: z.string().optional(),
  GATEHOUSE_CLIENT_CERTIFICATE_HEADER: headerName.optional(),
  GATEHOUSE_MTLS_URL: issuer.refine((url) => url.startsWith('https:'), 'must use https').optional(),
  GATEHOUSE_EGRESS_ALLOW: origins,
  GATEHOUSE_KEY_ROTATION_DAYS: whole(1, 365, 30),
  GATEHOUSE_RSA_BITS: z.enum(['2048', '3072', '4096'], 'must be 2048, 3072 or 4096').default('3072').transform(Number),
  GATEHOUSE_JWKS_MAX_AGE_SECONDS: whole(0, 86_400, 300),
  GATEHOUSE_REFRESH_GRACE_SECONDS: whole(0, 60, 10),
  GATEHOUSE_REFRESH_TTL_SECONDS: whole(60, 31_536_000, 1_209_600),
  GATEHOUSE_REFRESH_ABSOLUTE_TTL_SECONDS: whole(60, 157_680_000, 7_776_000),
  GATEHOUSE_SESSION_TTL_SECONDS: optionalWhole(60, 31_536_000),
  GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS: whole(60, 31_536_000, LONGEST_SESSION_SECONDS),
  GATEHOUSE_PASSKEY_RP_ID: domainName.optional(),
  GATEHOUSE_REQUIRED_ACR: z.enum(REQUIRABLE_ACRS, ONE_OF_REQUIRABLE_ACRS).optional(),
  GATEHOUSE_REQUIRE_PUSHED_REQUESTS: flag,
  GATEHOUSE_REQUIRE_SENDER_CONSTRAINED_TOKENS: flag,
  GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION: flag,
  GATEHOUSE_RESPONSE_MODES: responseModes,
  GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: whole(1, 1_000_000, 1_000),
  GATEHOUSE_CLIENT_REQUESTS_BURST: whole(1, 1_000_000, 2_000),
  GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: whole(1, 1_000_000, 100),
  GATEHOUSE_ADDRESS_REQUESTS_BURST: whole(1, 1_000_000, 1_000),
  GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: whole(1, 1_000_000, 20),
  GATEHOUSE_REGISTRATIONS_PER_ADDRESS: whole(1, 1_000_000, 100),
  GATEHOUSE_PASSWORD_MIN_LENGTH: whole(8, 64, 15),
  GATEHOUSE_PASSWORD_MIN_LENGTH_WITH_SECOND_FACTOR: whole(8, 64, 8),
  GATEHOUSE_BREACHED_PASSWORDS_URL: rangeSearch.optional(),
  GATEHOUSE_PASSWORD_WORDS: passwordWords,
  GATEHOUSE_PASSWORDS_BY_LINK_ONLY: flag,
  GATEHOUSE_SMTP_URL: smtpUrl.optional().meta(SECRET),
  GATEHOUSE_MAIL_FOLDER: z.string().min(1).optional(),
  GATEHOUSE_MAIL_FROM: mailbox.optional(),
  GATEHOUSE_OVERLOAD_MILLISECONDS: whole(10, 10_000, 100),
  GATEHOUSE_ANSWER_MILLISECONDS: whole(1_000, 60_000, 5_000),
  GATEHOUSE_CHANGE_POLL_MILLISECONDS: whole(50, 900, 500),
  GATEHOUSE_CLOCK_DIFFERENCE_SECONDS: whole(0, 15, 10),
  GATEHOUSE_AUDIT_RETENTION_DAYS: whole(0, 36_500, 400),
  GATEHOUSE_AUDIT_CHECKPOINT_SECONDS: whole(5, 3_600, 60),
  GATEHOUSE_SHUTDOWN_DELAY_SECONDS: optionalWhole(0, 60),
  GATEHOUSE_SHUTDOWN_GRACE_SECONDS: whole(1, 300, 15),
});

/** Secrets, which may be given as a file named by `<NAME>_FILE`. */
const SECRETS = Object.entries(schema.shape)
  .filter(([, type]) => type.meta()?.['secret'] === true)
  .map(([name]) => name);

/** Reads the environment. Throws `BadConfiguration` that names all invalid variables at once. */
export function readConfig(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  // an empty variable is unset: `VAR=` in a compose file means that
  const present = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  );
  const { own, links } = separateServiceLinks(present);
  const { given, complaints: aboutFiles } = readSecretFiles(own, SECRETS);
  const unknown = Object.keys(given).filter((name) => name.startsWith('GATEHOUSE_') && !(name in schema.shape));
  const parsed = schema.safeParse(given);
  const production = given['NODE_ENV'] === 'production';
  // by name: one sentence for each variable, and a wrong value takes precedence over a rule of production
  const complaints = new Map([
    ...(production ? checkProduction(given) : []),
    ...checkPairs(given),
    ...checkWorkers(parsed.data),
    ...checkSessions(parsed.data),
    ...checkPasskeys(parsed.data),
    ...checkPasswords(parsed.data),
    ...(parsed.error?.issues ?? []).map((issue) => [String(issue.path[0]), `${issue.message}.`] as const),
    ...unknown.map((name) => [name, 'is not a variable of Gatehouse.'] as const),
  ]);
  // a secret whose file can't be read must not be reported as missing too
  for (const [twin, sentence] of aboutFiles) {
    complaints.delete(twin.replace(/_FILE$/, ''));
    complaints.set(twin, sentence);
  }
  if (!parsed.success || complaints.size > 0) {
    throw new BadConfiguration([...complaints].map(([name, sentence]) => `${name} ${sentence}`).join('\n'));
  }
  const env = parsed.data;
  const issuerUrl = env.ISSUER ?? `http://localhost:${env.PORT}`;
  return Object.freeze({
    production,
    developmentIsSaid: given['NODE_ENV'] === 'development',
    issuer: issuerUrl,
    workers: env.GATEHOUSE_WORKERS,
    host: env.HOST ?? '127.0.0.1',
    secondHost: production || env.HOST !== undefined ? undefined : '::1',
    port: env.PORT,
    adminPort: env.GATEHOUSE_ADMIN_PORT,
    adminUrl: env.GATEHOUSE_ADMIN_URL ?? ownAdminUrl(issuerUrl, env.GATEHOUSE_ADMIN_PORT),
    managementHost: env.GATEHOUSE_MANAGEMENT_HOST,
    managementPort: env.GATEHOUSE_MANAGEMENT_PORT ?? (production ? 9000 : undefined),
    databaseUrl: env.DATABASE_URL,
    ownerDatabaseUrl: env.GATEHOUSE_OWNER_DATABASE_URL,
    databaseMaxConnections: env.GATEHOUSE_DATABASE_MAX_CONNECTIONS ?? Math.max(20, 5 * env.GATEHOUSE_WORKERS),
    databasePatienceMilliseconds: env.GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS,
    outageSeconds: env.GATEHOUSE_OUTAGE_SECONDS,
    outageAuditEvents: env.GATEHOUSE_OUTAGE_AUDIT_EVENTS,
    dataDir: resolve(env.GATEHOUSE_DATA_DIR),
    profile: env.GATEHOUSE_PROFILE,
    masterKeys: [env.GATEHOUSE_MASTER_KEY, env.GATEHOUSE_MASTER_KEY_PREVIOUS].filter((key) => key !== undefined),
    trustedProxies: env.GATEHOUSE_TRUSTED_PROXIES,
    tls:
      env.GATEHOUSE_TLS_PORT === undefined
        ? undefined
        : {
            host: env.GATEHOUSE_TLS_HOST ?? env.HOST ?? '127.0.0.1',
            port: env.GATEHOUSE_TLS_PORT,
            certificateFile: env.GATEHOUSE_TLS_CERTIFICATE_FILE!,
            keyFile: env.GATEHOUSE_TLS_KEY_FILE!,
          },
    clientCaFile: env.GATEHOUSE_CLIENT_CA_FILE,
    clientCertificateHeader: env.GATEHOUSE_CLIENT_CERTIFICATE_HEADER,
    mtlsUrl: env.GATEHOUSE_MTLS_URL ?? ownMtlsUrl(issuerUrl, env.GATEHOUSE_TLS_PORT),
    egressAllow: env.GATEHOUSE_EGRESS_ALLOW,
    logLevel: env.LOG_LEVEL,
    keyRotationDays: env.GATEHOUSE_KEY_ROTATION_DAYS,
    rsaBits: env.GATEHOUSE_RSA_BITS,
    jwksMaxAgeSeconds: env.GATEHOUSE_JWKS_MAX_AGE_SECONDS,
    refreshGraceSeconds: env.GATEHOUSE_REFRESH_GRACE_SECONDS,
    refreshTtlSeconds: env.GATEHOUSE_REFRESH_TTL_SECONDS,
    refreshAbsoluteTtlSeconds: env.GATEHOUSE_REFRESH_ABSOLUTE_TTL_SECONDS,
    sessionTtlSeconds:
      env.GATEHOUSE_SESSION_TTL_SECONDS ?? Math.min(UNUSED_SESSION_SECONDS, env.GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS),
    sessionAbsoluteTtlSeconds: env.GATEHOUSE_SESSION_ABSOLUTE_TTL_SECONDS,
    passkeyRpId: passkeyRpId(issuerUrl, env.GATEHOUSE_PASSKEY_RP_ID),
    requiredAcr: env.GATEHOUSE_REQUIRED_ACR,
    clientDemands: Object.freeze({
      pushedRequests: env.GATEHOUSE_REQUIRE_PUSHED_REQUESTS,
      senderConstrainedTokens: env.GATEHOUSE_REQUIRE_SENDER_CONSTRAINED_TOKENS,
      strongAuthentication: env.GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION,
      responseModes: env.GATEHOUSE_RESPONSE_MODES,
    }),
    clientRequests: {
      perSecond: env.GATEHOUSE_CLIENT_REQUESTS_PER_SECOND,
      burst: env.GATEHOUSE_CLIENT_REQUESTS_BURST,
    },
    addressRequests: {
      perSecond: env.GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND,
      burst: env.GATEHOUSE_ADDRESS_REQUESTS_BURST,
    },
    failedAuthenticationsPerMinute: env.GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE,
    registrationsPerAddress: env.GATEHOUSE_REGISTRATIONS_PER_ADDRESS,
    passwordMinLength: env.GATEHOUSE_PASSWORD_MIN_LENGTH,
    passwordMinLengthWithSecondFactor: env.GATEHOUSE_PASSWORD_MIN_LENGTH_WITH_SECOND_FACTOR,
    breachedPasswordsUrl: env.GATEHOUSE_BREACHED_PASSWORDS_URL,
    passwordWords: env.GATEHOUSE_PASSWORD_WORDS,
    passwordsByLinkOnly: env.GATEHOUSE_PASSWORDS_BY_LINK_ONLY,
    mail: mailTarget(env, issuerUrl),
    overloadMilliseconds: env.GATEHOUSE_OVERLOAD_MILLISECONDS,
    answerMilliseconds: env.GATEHOUSE_ANSWER_MILLISECONDS,
    changePollMilliseconds: env.GATEHOUSE_CHANGE_POLL_MILLISECONDS,
    clockDifferenceSeconds: env.GATEHOUSE_CLOCK_DIFFERENCE_SECONDS,
    auditRetentionDays: env.GATEHOUSE_AUDIT_RETENTION_DAYS,
    auditCheckpointSeconds: env.GATEHOUSE_AUDIT_CHECKPOINT_SECONDS,
    shutdownDelaySeconds: env.GATEHOUSE_SHUTDOWN_DELAY_SECONDS ?? (production ? 3 : 0),
    shutdownGraceSeconds: env.GATEHOUSE_SHUTDOWN_GRACE_SECONDS,
    serviceLinks: links,
  });
}

/** A development server on this machine shows its mails, if the operator names no other target. */
function mailTarget(env: z.output<typeof schema>, issuerUrl: string): MailTarget | undefined {
  const { GATEHOUSE_SMTP_URL: url, GATEHOUSE_MAIL_FOLDER: folder, GATEHOUSE_MAIL_FROM: from } = env;
  if (url !== undefined) return { kind: 'smtp', url, from: from! };
  if (folder !== undefined) return { kind: 'folder', folder: resolve(folder), from: from! };
  if (env.NODE_ENV !== 'development' || !isLoopback(new URL(issuerUrl).hostname)) return undefined;
  const ownFolder = join(resolve(env.GATEHOUSE_DATA_DIR), 'mails');
  return { kind: 'development', folder: ownFolder, from: from ?? 'Gatehouse <gatehouse@localhost>' };
}

/**
 * The mTLS base URL of an http issuer is the TLS listener. For an https issuer only the operator knows it, because the
 * listener's port is often not the public one.
 */
function ownMtlsUrl(issuerUrl: string, tlsPort: number | undefined): string | undefined {
  if (tlsPort === undefined || issuerUrl.startsWith('https:')) return undefined;
  const { hostname, pathname } = new URL(issuerUrl);
  return `https://${hostname}:${tlsPort}${pathname}`.replace(/\/+$/, '');
}

/** The admin URL of an http issuer, which has no proxy. For an https issuer only the operator knows it. */
function ownAdminUrl(issuerUrl: string, adminPort: number | undefined): string | undefined {
  if (adminPort === undefined || issuerUrl.startsWith('https:')) return undefined;
  const { hostname, pathname } = new URL(issuerUrl);
  return `http://${hostname}:${adminPort}${pathname}`.replace(/\/+$/, '');
}

/** The files in which development keeps what production configures: see bootstrap/. */
export const masterKeyFile = (config: Config): string => join(config.dataDir, 'master.key');
export const bootstrapFile = (config: Config): string => join(config.dataDir, 'bootstrap.json');
