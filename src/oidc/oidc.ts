/**
 * The protocols OAuth 2.1 and OpenID Connect. The library oidc-provider implements them; this folder configures and
 * extends the library. It has a folder for each endpoint or group of endpoints. `provider/` configures the library,
 * `storage/` is its adapter, and `fast_path/` answers the most frequent requests without the library. The other folders
 * of src import only this file.
 */
import type { RequestListener } from 'node:http';
import type { Context, Middleware } from 'koa';
import compose from 'koa-compose';
import type { Provider } from 'oidc-provider';
import type { AuditTrail } from '../audit/trail.ts';
import type { RequirableAcr } from '../base/acr_values.ts';
import { DPOP_ALGS } from '../base/signing_algs.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { SecretUses } from '../clients/secret_last_used.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import type { Absence } from '../db/breaker.ts';
import type { Database } from '../db/connection.ts';
import type { AdmissionSettings } from '../http/admission.ts';
import type { Metrics } from '../http/metrics.ts';
import type { OpenRequest } from '../http/request_context.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { KeyRing } from '../keys/key_ring.ts';
import type { TokenVerifier } from '../keys/token_verifier.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { FailedAuthentications } from '../limits/failed_authentications.ts';
import type { RateLimitRefusal, RateLimiter } from '../limits/rate_limiter.ts';
import type { Verifications } from '../limits/verifications.ts';
import type { Logger } from '../log.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { AuthorizationDetailsTypes } from '../resources/details_type_directory.ts';
import type { ResourceDirectory } from '../resources/resource_directory.ts';
import { accessLifetimes, type AccessLifetimesSettings } from './authorization/access_lifetimes.ts';
import { AuthorizationDetailsPolicy } from './authorization/authorization_details.ts';
import { describeClient, describeScopes } from './authorization/consent_descriptions.ts';
import { describeDetails } from './authorization/details_description.ts';
import { DemandedContexts } from './authorization/demanded_context.ts';
import { Approvals } from './ciba/approvals.ts';
import { pingDelivery } from './ciba/ping_delivery.ts';
import {
  refuseKnownFailures,
  rateLimitCheck,
  authenticationRequestMatcher,
} from './client_authentication/failed_authentication.ts';
import type { DocumentClients } from './client_authentication/provider_clients.ts';
import { createSenderCheck } from './sender_constraint/resource_request_proofs.ts';
import { FastClientCredentials } from './fast_path/client_credentials.ts';
import { CodeAndRefresh } from './fast_path/code_and_refresh.ts';
import { FastPath } from './fast_path/fast_path.ts';
import { fastIntrospection, fastRevocation } from './fast_path/introspection_revocation.ts';
import { fastTokenEndpoint } from './fast_path/token_endpoint.ts';
import { backchannelLogouts } from './logout/backchannel_logout.ts';
import { createProvider, ID_TOKEN_SECONDS, type ProviderSettings } from './provider/configuration.ts';
import { Endpoints } from './provider/endpoints.ts';
import { publishKeys } from './provider/jwks_endpoint.ts';
import { describeProtectedResources, USERINFO, type ProtectedEndpoint } from './provider/protected_resources.ts';
import { loginForOwnPages } from './request/first_party_login.ts';
import { demandOfLogin, demandOnAccount } from './request/login_demand.ts';
import { changeTogether } from './request/page_changes.ts';
import { limitFormBodies } from './request/request_body.ts';
import { anonymousOrigin } from './request/request_events.ts';
import { ROUTES } from './request/routes.ts';
import { UnansweredUses } from './request/unanswered_uses.ts';
import { RefreshTokenFamilies } from './storage/refresh_token_families.ts';
import { sessionRenewals } from './storage/session_renewal.ts';
import { AccessTokenStates } from './tokens/access_token_state.ts';
import { JwtIntrospection } from './tokens/jwt_introspection.ts';
import { ResourcePolicy } from './tokens/resource_policy.ts';
import { Revocations } from './tokens/revocation.ts';
import { RevokedTokens } from './tokens/revoked_tokens.ts';
import { Usernames } from './tokens/userinfo_tokens.ts';

export { JSON_ENDPOINTS, METHODS } from './request/routes.ts';

export interface DescriptionsSettings extends AccessLifetimesSettings {
  readonly issuer: string;
  readonly detailsTypes: AuthorizationDetailsTypes;
}

/** Creates the descriptions of clients and of requested access that people read on the pages of login/. */
export function createDescriptions(settings: DescriptionsSettings) {
  return {
    describeClient: describeClient(settings.clients),
    describeScopes: describeScopes(settings.resources),
    describeDetails: describeDetails(settings.detailsTypes),
    accessLifetimeOf: accessLifetimes(settings),
  };
}

/** The settings of the provider that this file creates from its own settings. */
type CreatedSettings =
  | 'clients'
  | 'policy'
  | 'detailsPolicy'
  | 'tokens'
  | 'usernames'
  | 'refreshFamilies'
  | 'unanswered'
  | 'demandedContexts';

export interface OidcSettings extends Omit<ProviderSettings, CreatedSettings> {
  readonly clients: ClientDirectory;
  readonly documents: DocumentClients;
  readonly secretVerifier: SecretVerifier;
  readonly secretUses: SecretUses;
  readonly resources: ResourceDirectory;
  readonly detailsTypes: AuthorizationDetailsTypes;
  readonly ring: KeyRing;
  readonly tokenVerifier: TokenVerifier;
  readonly isTrustedIssuer: (issuer: string) => boolean;
  readonly rateLimiter: RateLimiter;
  readonly failedAuthentications: FailedAuthentications;
  readonly verifications: Verifications;
  readonly trail: AuditTrail;
  readonly changes: InvalidationFollower;
  readonly outbox: Outbox;
  /** The key that marks refresh tokens: 32 bytes, the same on every node. */
  readonly refreshTokenKey: Buffer;
  readonly jwksMaxAgeSeconds: number;
  /** The context that each login of a person needs; `undefined`: a password is enough. */
  readonly requiredAcr: RequirableAcr | undefined;
  /** The base URLs of the admin API, the issuer first. */
  readonly adminBases: readonly string[];
  /** Throws if this node's knowledge of revocations is too old to rely on. */
  readonly vouch: () => void;
  /** Returns the last outage of the database that this node has seen. */
  readonly lastAbsence: () => Absence | undefined;
  readonly log: Logger;
  /** The time within which the response must begin. */
  readonly answerMilliseconds: number;
}

export type Oidc = ReturnType<typeof createOidc>;

export function createOidc(settings: OidcSettings) {
  const { issuer, database, clients: directory, ring, trail, changes, clock, log, outbox } = settings;
  const { secretVerifier: verifier, rateLimiter: traffic, failedAuthentications: failures } = settings;
  const revoked = new RevokedTokens(database);
  const { tokenVerifier, isTrustedIssuer: isTrusted, vouch } = settings;
  const { resources, roles } = settings;
  const tokens = new AccessTokenStates({
    issuer,
    roles,
    database,
    verifier: tokenVerifier,
    clients: directory,
    resources,
    revoked,
    isTrusted,
    vouch,
  });
  const revocations = new Revocations({ database, trail, changes });
  const unanswered = new UnansweredUses({ database, trail, clock, log, lastAbsence: settings.lastAbsence });
  const families = new RefreshTokenFamilies(settings.refreshTokenKey);
  const detailsPolicy = new AuthorizationDetailsPolicy(settings.detailsTypes);
  const policy = new ResourcePolicy({ issuer, resources, roles, details: detailsPolicy });
  const demandedContexts = new DemandedContexts({ resources, roles, requiredAcr: settings.requiredAcr });
  const usernames = new Usernames({ issuer, database, clients: directory, policy });
  const endpoints = new Endpoints({
    database,
    trail,
    unanswered,
    structured: new JwtIntrospection({ tokens, revocations, usernames }),
    renderError: settings.pages.renderError,
    traffic,
    failures,
    log,
  });
  const providerSettings: ProviderSettings = {
    ...settings,
    clients: {
      directory,
      documents: settings.documents,
      verifier,
      uses: settings.secretUses,
      traffic,
      clock,
      keys: { egress: settings.egress, clock, log, verifications: settings.verifications },
    },
    policy,
    detailsPolicy,
    tokens,
    usernames,
    refreshFamilies: families,
    unanswered,
    demandedContexts,
  };
  const provider = (): Provider => endpoints.provider;
  outbox.serve(pingDelivery(directory, database));
  outbox.serve(backchannelLogouts(provider));
  const isAuthenticationRequest = authenticationRequestMatcher(issuer, ROUTES);
  /** A provider can't change its keys and types. When they change, a new provider replaces it between two requests. */
  const replaceProvider = (): void => endpoints.use(createProvider(providerSettings, ring.privateJwks));
  const feature: Feature = {
    caches: [
      {
        topic: 'revoked_token',
        onChange: (jti) => revoked.add(jti, clock()),
        load: () => revoked.load(clock()),
      },
    ],
    jobs: [{ name: 'revoked_tokens', everyMilliseconds: 300_000, run: () => revoked.load(clock()) }],
    start() {
      replaceProvider();
      ring.onSwap(replaceProvider);
      settings.detailsTypes.onSwap(replaceProvider);
    },
  };
  return {
    feature,
    /** Answers the endpoints of the protocol; other paths go to the next middleware. */
    middleware: compose([publishKeys(settings), limitFormBodies(settings.pages), endpoints.middleware]),
    /** Wraps a listener: answers the most frequent requests of clients with plain metadata. */
    fastPath: (open: OpenRequest, metrics: Metrics): ((next: RequestListener) => RequestListener) =>
      fastPathOf(
        settings,
        { policy, demandedContexts, tokens, usernames, revocations, unanswered, families },
        open,
        metrics,
      ),
    /** Returns the refusal for a client that was refused a moment ago, before the request's body is read. */
    refusesRateLimited: rateLimitCheck(traffic, isAuthenticationRequest),
    /** Wraps a listener: refuses wrong secrets of clients that have already exceeded a limit. */
    refuseKnownFailures: (admission: AdmissionSettings<RateLimitRefusal>, next: RequestListener): RequestListener =>
      refuseKnownFailures({ ...admission, failures, clients: directory, verifier, isAuthenticationRequest }, next),
    /** Describes the protected endpoints of this server (RFC 9728): userinfo and `others`. */
    describeProtectedResources: (
      dpop: ProtectedEndpoint['dpop'],
      others: readonly Omit<ProtectedEndpoint, 'dpop'>[],
    ): Middleware =>
      describeProtectedResources(
        { issuer, seesCertificates: settings.clientCertificates !== undefined },
        [USERINFO, ...others].map((endpoint) => ({ ...endpoint, dpop })),
      ),
    /** The services for the pages of login/. */
    forLogin: {
      provider,
      approvals: new Approvals({ provider, database, policy, roles, demandedContexts }),
      demandOf: demandOfLogin({ ...settings, provider, demandedContexts }),
      demandOnAccount: demandOnAccount({ database, roles, demandedContexts }),
      changeTogether: changeTogether({ database, trail }),
      logIn: loginForOwnPages({ issuer, provider }),
      renewSession: sessionRenewals({ issuer, provider }),
    },
    /** The services for the admin API, which accepts access tokens of this server. */
    forAdmin: {
      dpopAlgs: DPOP_ALGS,
      examineToken: (token: string, now: Date) => tokens.examine(token, now),
      checkSender: createSenderCheck({
        provider,
        database,
        certificates: settings.clientCertificates,
        unanswered,
        bases: settings.adminBases,
        async onReplay(ctx: Context) {
          await trail.refusals.record(anonymousOrigin(ctx), { event: 'dpop_proof.replayed', outcome: 'refused' });
        },
      }),
    },
    /** Takes back uses whose outcome is unknown. The breaker runs this in its probe, before it admits other work. */
    settleUnansweredUses: (probeDatabase: Database) => unanswered.settle(probeDatabase),
  };
}

interface FastPathParts {
  readonly policy: ResourcePolicy;
  readonly demandedContexts: DemandedContexts;
  readonly tokens: AccessTokenStates;
  readonly usernames: Usernames;
  readonly revocations: Revocations;
  readonly unanswered: UnansweredUses;
  readonly families: RefreshTokenFamilies;
}

function fastPathOf(
  { secretVerifier: verifier, secretUses: uses, rateLimiter: traffic, clientDemands, ...settings }: OidcSettings,
  { policy, demandedContexts, tokens, usernames, revocations, unanswered, families }: FastPathParts,
  open: OpenRequest,
  metrics: Metrics,
): (next: RequestListener) => RequestListener {
  const { issuer, database, clients, ring, trail, subjects, log } = settings;
  const { answerMilliseconds, roles, refreshTtlSeconds, sessionAbsoluteTtlSeconds } = settings;
  const fastPath = new FastPath({
    issuer,
    open,
    answerMilliseconds,
    clients,
    verifier,
    uses,
    trail,
    traffic,
    metrics,
    log,
  });
  // the fast path serves only clients that authenticate with a secret, and its tokens are not bound to a key
  if (clientDemands.strongAuthentication) return (next) => next;
  const tokenEndpoint = fastTokenEndpoint(
    ROUTES.token,
    new FastClientCredentials({ issuer, policy, ring, trail }),
    new CodeAndRefresh({
      issuer,
      database,
      policy,
      demandedContexts,
      ring,
      subjects,
      families,
      roles,
      trail,
      unanswered,
      idTokenTtlSeconds: ID_TOKEN_SECONDS,
      refreshTtlSeconds,
      sessionAbsoluteTtlSeconds,
    }),
  );
  const paths = [
    ...(clientDemands.senderConstrainedTokens ? [] : [tokenEndpoint]),
    fastIntrospection(ROUTES.introspection, tokens, usernames),
    fastRevocation(ROUTES.revocation, tokens, revocations),
  ];
  return (next) => fastPath.before(next, paths);
}
