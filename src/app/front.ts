/** Who answers which request: what every one of them passes first, and the order in which they are asked. */
import type { IncomingMessage, RequestListener } from 'node:http';
import Koa from 'koa';
import type { Provider } from 'oidc-provider';
import { PasswordCheck } from '../accounts/password_check.ts';
import { ADMIN_PREFIX, ADMIN_SCOPES, createAdmin } from '../admin/admin.ts';
import { addSeconds } from '../base/clock.ts';
import { SecretVerifier } from '../clients/secret_verifier.ts';
import type { FetchDocument } from '../clients/sector.ts';
import { admitUnless } from '../http/admission.ts';
import { brokenOff } from '../http/broken_off.ts';
import { clientAddress } from '../http/client_address.ts';
import { routeAmong, type Metrics, type RouteOf } from '../http/metrics.ts';
import { pinToIssuer } from '../http/mount.ts';
import { pageHeaders } from '../http/page_headers.ts';
import { openRequests, requestContext, type OpenRequest } from '../http/request_context.ts';
import { unanswered } from '../http/unanswered.ts';
import { LoginAttempts } from '../limits/login_attempts.ts';
import { LoginHints } from '../limits/login_hints.ts';
import { Registrations } from '../limits/registrations.ts';
import type { Refusal } from '../limits/traffic.ts';
import { SecretGuesses } from '../limits/secret_guesses.ts';
import { UserCodeGuesses } from '../limits/user_code_guesses.ts';
import { createLogin } from '../login/login.ts';
import { createProviderPages } from '../login/provider_pages.ts';
import { Approvals } from '../oidc/approvals.ts';
import { AuthorizationDetailsPolicy } from '../oidc/authorization_details.ts';
import { backchannelLogouts } from '../oidc/backchannel_logout.ts';
import { describeClient, describeScopes } from '../oidc/descriptions.ts';
import { describeDetails } from '../oidc/details_in_words.ts';
import { DPOP_ALGS } from '../oidc/dpop.ts';
import { Endpoints } from '../oidc/endpoints.ts';
import { refuseKnownFailures, refusesSpent, whereClientsProveThemselves } from '../oidc/failed_authentication.ts';
import { LeanClientCredentials } from '../oidc/lean/client_credentials.ts';
import { LeanFront } from '../oidc/lean/front.ts';
import { LeanPersonTokens } from '../oidc/lean/person_tokens.ts';
import { leanIntrospection, leanRevocation } from '../oidc/lean/structured_tokens.ts';
import { leanTokenEndpoint } from '../oidc/lean/token_endpoint.ts';
import { loginForOwnPages } from '../oidc/own_login.ts';
import { describeProtectedResources, USERINFO } from '../oidc/protected_resources.ts';
import { createProvider, ID_TOKEN_SECONDS } from '../oidc/provider.ts';
import { METHODS, ROUTES } from '../oidc/routes.ts';
import { ResourcePolicy } from '../oidc/resource_policy.ts';
import { Revocations } from '../oidc/revocations.ts';
import { StructuredTokens } from '../oidc/structured_tokens.ts';
import { discloseRegistration } from '../registration/discovery.ts';
import { MetadataDocuments } from '../registration/metadata_documents.ts';
import { createRegistration } from '../registration/registration.ts';
import type { AppSettings, House } from './house.ts';

export interface Front {
  /** Answers the public: the protocol, the pages, the admin API. */
  readonly public: RequestListener;
  /** Answers admins, where that was given a port of its own; then `public` doesn't. */
  readonly admin: RequestListener | undefined;
}

/** What is told apart at /metrics. */
const COUNTED = [
  '/admin/v1',
  '/interaction',
  '/account',
  '/approve',
  '/assets',
  '/.well-known',
  ...Object.keys(METHODS),
];

/** How old a document that a client points to may be: whoever has just mended it must not wait for long. */
const SECTOR_SECONDS = 10;

/** The public's listener, and the admin API's where it has a port of its own. */
export function openFront(settings: AppSettings, house: House, metrics: Metrics): Front {
  const { config, pool, database, log, clock } = settings;
  const { issuer } = config;
  const {
    trail,
    changes,
    clients,
    resources,
    tokens,
    vault,
    argon2id,
    rotation,
    egress,
    traffic,
    failures,
    clientCertificates,
  } = house;
  const cookieKeys = [house.cookieKey];
  const pages = createProviderPages({ issuer, describeScopes: describeScopes(resources, issuer) });
  const revocations = new Revocations({ database, trail, changes });
  const endpoints = new Endpoints({
    trail,
    structured: new StructuredTokens({ tokens, revocations }),
    renderError: pages.renderError,
    jwksMaxAgeSeconds: config.jwksMaxAgeSeconds,
    traffic,
    failures,
    log,
  });
  const guesses = new SecretGuesses(pool);
  const verifier = new SecretVerifier(vault, argon2id, (clientId, address) => guesses.admit(clientId, address));
  const userCodeGuesses = new UserCodeGuesses(pool);
  const loginHints = new LoginHints(pool);
  const detailsPolicy = new AuthorizationDetailsPolicy(house.detailsTypes);
  const policy = new ResourcePolicy(resources, detailsPolicy);
  const provider = (): Provider => endpoints.provider;
  const { policies, statements, ring } = house;
  const registrations = new Registrations(pool);
  const fetchDocument: FetchDocument = async (url) =>
    (await egress.get(url, { fetchedSince: addSeconds(clock(), -SECTOR_SECONDS) })).body;
  const documents = new MetadataDocuments({
    database,
    directory: clients,
    egress,
    fetchDocument,
    policies,
    limits: registrations,
    trail,
    changes,
    clock,
  });
  const swap = (): void =>
    endpoints.use(
      createProvider(
        {
          ...config,
          database,
          clock,
          vault,
          egress,
          clients: {
            directory: clients,
            documents,
            verifier,
            uses: house.uses,
            traffic,
            clock,
            keys: { egress, clock, log },
          },
          clientCertificates,
          trail,
          tokens,
          statements: house.statements,
          policy,
          detailsPolicy,
          userCodeGuesses,
          loginHints,
          digestUserCode: house.digestUserCode,
          pages,
          cookieKeys,
          dpopNonceSecret: house.dpopNonceSecret,
          refreshFamilies: house.refreshFamilies,
          subjects: house.subjects,
        },
        ring.privateJwks,
      ),
    );
  swap();
  ring.onSwap(swap);
  house.outbox.serve(backchannelLogouts(() => endpoints.provider));
  house.detailsTypes.onSwap(swap);

  const login = createLogin({
    provider,
    database,
    trail,
    passwords: new PasswordCheck(database, argon2id),
    attempts: new LoginAttempts(pool),
    describeClient: describeClient(clients),
    describeScopes: describeScopes(resources, issuer),
    approvals: new Approvals({ provider, database, trail, policy }),
    logIn: loginForOwnPages({ issuer, provider }),
    describeDetails: describeDetails(house.detailsTypes),
    issuer,
    log,
  });
  const registration = createRegistration({
    issuer,
    database,
    vault,
    trail,
    changes,
    verifier,
    statements,
    policies,
    limits: registrations,
    failures,
    fetchDocument,
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
    subjects: house.subjects,
    fetchDocument,
    auditKeys: house.auditKeys,
    checkpoints: house.checkpoints,
    inspectToken: (token, now) => tokens.inspect(token, now),
    log,
    dpopAlgs: DPOP_ALGS,
  });
  const open = openRequests(clock, clientAddress(config.trustedProxies));
  const lean = new LeanFront({
    issuer,
    open,
    clients,
    verifier,
    uses: house.uses,
    trail,
    traffic,
    metrics,
    log,
  });
  const base = new URL(issuer).pathname.replace(/\/$/, '');
  const routeOf = routeAmong(COUNTED);
  const admission = {
    open,
    holdBack: (refusal: Refusal) => traffic.holdBack(refusal),
    answered: ({ method = '', url = '' }: IncomingMessage, status: number, began: number) => {
      const path = url.startsWith(`${base}/`) ? url.slice(base.length).replace(/\?.*$/s, '') : '';
      metrics.observe({ method, route: routeOf(path), status, began });
    },
  };
  const described = describeProtectedResources(issuer, [
    USERINFO,
    { path: ADMIN_PREFIX, scopes: ADMIN_SCOPES, dpop: 'none' },
  ]);
  const apart = config.adminPort !== undefined;
  const last = unanswered({ methods: METHODS, page: pages.unanswered });
  const ordinary = listener(settings, house, metrics, routeOf, open, [
    login,
    described,
    ...(apart ? [] : [admin]),
    registration,
    discloseRegistration(issuer, policies),
    pageHeaders,
    endpoints.middleware,
    last,
  ]);
  const leanPaths = [
    leanTokenEndpoint(
      ROUTES.token,
      new LeanClientCredentials({ issuer, policy, ring, trail }),
      new LeanPersonTokens({
        issuer,
        database,
        policy,
        ring,
        subjects: house.subjects,
        families: house.refreshFamilies,
        trail,
        idTokenTtlSeconds: ID_TOKEN_SECONDS,
        refreshTtlSeconds: config.refreshTtlSeconds,
      }),
    ),
    leanIntrospection(ROUTES.introspection, tokens),
    leanRevocation(ROUTES.revocation, tokens, revocations),
  ];
  const unless = (refuses: (request: IncomingMessage) => Refusal | undefined, next: RequestListener): RequestListener =>
    admitUnless(refuses, admission, next);
  const provesItself = whereClientsProveThemselves(issuer, ROUTES);
  // what costs least is asked first: whether there is time at all, then whether a client proves itself in passing
  const guarded = unless(
    (request) => traffic.refusesAny() ?? refusesInWrongTime(house, request),
    unless(
      refusesSpent(traffic, provesItself),
      lean.before(
        unless(
          (request) => traffic.refusesAddress(open(request).address),
          refuseKnownFailures({ ...admission, failures, clients, verifier, provesItself }, ordinary),
        ),
        leanPaths,
      ),
    ),
  );
  return {
    public: guarded,
    admin: apart
      ? unless(
          (request) => refusesInWrongTime(house, request),
          listener(settings, house, metrics, routeOf, open, [described, admin, last]),
        )
      : undefined,
  };
}

/** Keys and what discovery says are as true as ever; all else would be dated wrongly. */
const TIMELESS = /^[^?]*\/(?:jwks|\.well-known\/[^?]*)(?:\?|$)/;

function refusesInWrongTime({ difference }: House, { url = '' }: IncomingMessage): Refusal | undefined {
  if (!difference.tooFar || TIMELESS.test(url)) return undefined;
  return { status: 503, retryAfterSeconds: 5, why: "this machine's clock is wrong", first: false };
}

/** What every request passes first, then who answers which path. */
function listener(
  { config, log }: AppSettings,
  { cookieKey }: House,
  metrics: Metrics,
  routeOf: RouteOf,
  open: OpenRequest,
  answers: readonly Koa.Middleware[],
): RequestListener {
  const app = new Koa();
  app.keys = [cookieKey];
  app.on('error', (error: unknown, ctx?: Koa.Context) => {
    const code = brokenOff(error, ctx);
    if (code === undefined) log.error({ error }, 'request.failed');
    else log.debug({ code }, 'request.broken_off');
  });
  app.use(requestContext(open));
  app.use(pinToIssuer(app, config.issuer));
  app.use(metrics.measure(routeOf));
  for (const answer of answers) app.use(answer);
  const answer = app.callback();
  return (request, response) => void answer(request, response);
}
