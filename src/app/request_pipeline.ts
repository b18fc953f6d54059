/** Who answers which request: what every one of them passes first, and the order in which they are asked. */
import type { IncomingMessage, RequestListener } from 'node:http';
import Koa from 'koa';
import { ADMIN_PREFIX, ADMIN_SCOPES } from '../admin/admin.ts';
import { admitUnless } from '../http/admission.ts';
import { abortedRequestCode } from '../http/aborted_requests.ts';
import { clientAddress } from '../http/client_address.ts';
import { reportIgnoredHeaders } from '../http/ignored_forwarding.ts';
import { routeAmong, type Metrics, type RouteOf } from '../http/metrics.ts';
import { pagesAtIssuer } from '../http/issuer_pages.ts';
import { pinToIssuer } from '../http/issuer_base.ts';
import { pageHeaders } from '../http/page_headers.ts';
import { openRequests, requestContext, type OpenRequest } from '../http/request_context.ts';
import { notFound } from '../http/not_found.ts';
import type { RateLimitRefusal } from '../limits/rate_limiter.ts';
import {
  refuseKnownFailures,
  refusesSpent,
  whereClientsProveThemselves,
} from '../oidc/client_authentication/failed_authentication.ts';
import { FastClientCredentials } from '../oidc/fast_path/client_credentials.ts';
import { FastPath } from '../oidc/fast_path/fast_path.ts';
import { CodeAndRefresh } from '../oidc/fast_path/code_and_refresh.ts';
import { fastIntrospection, fastRevocation } from '../oidc/fast_path/introspection_revocation.ts';
import { fastTokenEndpoint } from '../oidc/fast_path/token_endpoint.ts';
import { describeProtectedResources, USERINFO } from '../oidc/provider/protected_resources.ts';
import { ID_TOKEN_SECONDS } from '../oidc/provider/configuration.ts';
import { boundForms } from '../oidc/request/request_body.ts';
import { METHODS, ROUTES } from '../oidc/request/routes.ts';
import { discloseRegistration } from '../registration/discovery.ts';
import { createEndpoints } from './endpoints.ts';
import type { AppSettings, Node } from './node.ts';
import { createOidc, type Oidc } from './oidc.ts';

export interface RequestPipeline {
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
  '/try-login',
  '/assets',
  '/.well-known',
  ...Object.keys(METHODS),
];

/** The public's listener, and the admin API's where it has a port of its own. */
export function createRequestPipeline(settings: AppSettings, house: Node, metrics: Metrics): RequestPipeline {
  const { config, clock, log } = settings;
  const { issuer, adminPort } = config;
  const { traffic, failures, clients, breaker } = house;
  const protocol = createOidc(settings, house);
  const { login, registration, admin } = createEndpoints(settings, house, protocol);
  const { endpoints, pages, verifier } = protocol;
  const open = openRequests(clock, clientAddress(config.trustedProxies, reportIgnoredHeaders(log, clock)));
  const routeOf = routeAmong(COUNTED);
  const seesCertificates = house.clientCertificates !== undefined;
  // with certificates a token may be bound to one of those instead
  const dpop = config.clientDemands.senderConstrainedTokens && !seesCertificates ? 'required' : 'supported';
  const described = describeProtectedResources({ issuer, seesCertificates }, [
    { ...USERINFO, dpop },
    { path: ADMIN_PREFIX, scopes: ADMIN_SCOPES, dpop },
  ]);
  const last = notFound({ methods: { ...METHODS, '/': ['GET'] }, page: pages.notFound });
  const ordinary = listener(settings, house, metrics, routeOf, open, [
    ...(config.production ? [] : [pagesAtIssuer(issuer)]),
    login,
    described,
    ...(adminPort === undefined ? [admin] : []),
    registration,
    discloseRegistration(issuer, house.policies),
    pageHeaders,
    boundForms(pages),
    endpoints.middleware,
    last,
  ]);
  const admission = admissionOf(settings, house, metrics, routeOf, open);
  const unless = (
    refuses: (request: IncomingMessage) => RateLimitRefusal | undefined,
    next: RequestListener,
  ): RequestListener => admitUnless(refuses, admission, next);
  const provesItself = whereClientsProveThemselves(issuer, ROUTES);
  // what costs least is asked first: whether there is time at all, then whether a client proves itself in passing
  const guarded = unless(
    (request) => {
      breaker.noteUse();
      return traffic.refusesAny() ?? refusesInWrongTime(house, request);
    },
    unless(
      refusesSpent(traffic, provesItself),
      leanFront(
        settings,
        house,
        metrics,
        protocol,
        open,
      )(
        unless(
          (request) => traffic.refusesAddress(open(request).address),
          refuseKnownFailures({ ...admission, failures, clients, verifier, provesItself }, ordinary),
        ),
      ),
    ),
  );
  if (adminPort === undefined) return { public: guarded, admin: undefined };
  const apart = listener(settings, house, metrics, routeOf, open, [described, admin, last]);
  const refusesAdmin = (request: IncomingMessage): RateLimitRefusal | undefined => {
    breaker.noteUse();
    return refusesInWrongTime(house, request);
  };
  return { public: guarded, admin: unless(refusesAdmin, apart) };
}

/** The lean paths, in front of what answers all else. */
function leanFront(
  { config, database, log }: AppSettings,
  { clients, uses, trail, traffic, ring, subjects, refreshFamilies: families, tokens, ...house }: Node,
  metrics: Metrics,
  { verifier, policy, revocations }: Oidc,
  open: OpenRequest,
): (next: RequestListener) => RequestListener {
  const { issuer, refreshTtlSeconds, sessionAbsoluteTtlSeconds, clientDemands } = config;
  const lean = new FastPath({ issuer, open, clients, verifier, uses, trail, traffic, metrics, log });
  const { strongAuthentication, senderConstrainedTokens } = clientDemands;
  // these paths are for clients that prove themselves with a secret, and give tokens that are bound to nothing
  if (strongAuthentication) return (next) => next;
  const tokenEndpoint = fastTokenEndpoint(
    ROUTES.token,
    new FastClientCredentials({ issuer, policy, ring, trail }),
    new CodeAndRefresh({
      issuer,
      database,
      policy,
      ring,
      subjects,
      families,
      trail,
      unanswered: house.unanswered,
      idTokenTtlSeconds: ID_TOKEN_SECONDS,
      refreshTtlSeconds,
      sessionAbsoluteTtlSeconds,
    }),
  );
  const paths = [
    ...(senderConstrainedTokens ? [] : [tokenEndpoint]),
    fastIntrospection(ROUTES.introspection, tokens),
    fastRevocation(ROUTES.revocation, tokens, revocations),
  ];
  return (next) => lean.before(next, paths);
}

/** How a request is told that it has to come again, and counted. */
function admissionOf(
  { config: { issuer } }: AppSettings,
  { traffic }: Node,
  metrics: Metrics,
  routeOf: RouteOf,
  open: OpenRequest,
) {
  const base = new URL(issuer).pathname.replace(/\/$/, '');
  return {
    open,
    holdBack: (refusal: RateLimitRefusal) => traffic.holdBack(refusal),
    answered: ({ method = '', url = '' }: IncomingMessage, status: number, began: number) => {
      const path = url.startsWith(`${base}/`) ? url.slice(base.length).replace(/\?.*$/s, '') : '';
      metrics.observe({ method, route: routeOf(path), status, began });
    },
  };
}

/** Keys and what discovery says are as true as ever; all else would be dated wrongly. */
const TIMELESS = /^[^?]*\/(?:jwks|\.well-known\/[^?]*)(?:\?|$)/;

function refusesInWrongTime({ difference }: Node, { url = '' }: IncomingMessage): RateLimitRefusal | undefined {
  if (!difference.tooFar || TIMELESS.test(url)) return undefined;
  return { status: 503, retryAfterSeconds: 5, why: "this machine's clock is wrong", first: false };
}

/** What every request passes first, then who answers which path. */
function listener(
  { config, log }: AppSettings,
  { cookieSignatures }: Node,
  metrics: Metrics,
  routeOf: RouteOf,
  open: OpenRequest,
  answers: readonly Koa.Middleware[],
): RequestListener {
  const app = new Koa();
  app.keys = cookieSignatures;
  app.on('error', (error: unknown, ctx?: Koa.Context) => {
    const code = abortedRequestCode(error, ctx);
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
