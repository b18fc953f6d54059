/** Defines the order of a request's checks, and of the middleware that may answer it after them. */
import type { IncomingMessage, RequestListener } from 'node:http';
import Koa, { type Middleware } from 'koa';
import { ADMIN_PREFIX, ADMIN_SCOPES } from '../admin/admin.ts';
import { withTimeBudget } from '../base/time_budget.ts';
import type { Clock } from '../base/clock.ts';
import type { Config } from '../config.ts';
import type { Breaker } from '../db/breaker.ts';
import type { ClockDifference } from '../db/clock_difference.ts';
import { abortedRequestCode } from '../http/aborted_requests.ts';
import { admitUnless, type AdmissionSettings } from '../http/admission.ts';
import { clientAddress } from '../http/client_address.ts';
import type { ClientCertificates } from '../http/client_certificates.ts';
import type { CookieSignatures } from '../http/cookie_signatures.ts';
import { exactPaths } from '../http/exact_paths.ts';
import { answerInJson } from '../http/json_endpoints.ts';
import { reportIgnoredHeaders } from '../http/ignored_forwarding.ts';
import { pinToIssuer } from '../http/issuer_base.ts';
import { pagesAtIssuer } from '../http/issuer_pages.ts';
import { routeAmong, type Metrics } from '../http/metrics.ts';
import { notFound, type NotFoundSettings } from '../http/not_found.ts';
import { pageHeaders } from '../http/page_headers.ts';
import { openRequests, requestContext, type OpenRequest } from '../http/request_context.ts';
import type { RateLimiter, RateLimitRefusal } from '../limits/rate_limiter.ts';
import type { Logger } from '../log.ts';
import { JSON_ENDPOINTS, METHODS, type Oidc } from '../oidc/oidc.ts';
import type { Registration } from '../registration/registration.ts';

export interface RequestPipeline {
  /** Answers public requests: the protocol, the pages, and the admin API if `admin` is `undefined`. */
  readonly public: RequestListener;
  /** Answers the admin API if it has its own port; `public` does not answer it then. */
  readonly admin: RequestListener | undefined;
}

export interface RequestPipelineSettings {
  readonly config: Config;
  readonly breaker: Breaker;
  readonly difference: ClockDifference;
  readonly rateLimiter: RateLimiter;
  readonly cookieSignatures: CookieSignatures;
  /** `undefined` if this server receives no client certificates. */
  readonly clientCertificates: ClientCertificates | undefined;
  readonly oidc: Oidc;
  readonly login: Middleware;
  readonly admin: Middleware;
  readonly registration: Pick<Registration, 'endpoint' | 'discovery'>;
  readonly notFoundPage: NotFoundSettings['page'];
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The routes that have their own label in /metrics. */
const COUNTED_ROUTES = [
  '/admin/v1',
  '/interaction',
  '/account',
  '/approve',
  '/link',
  '/forgot-password',
  '/try-login',
  '/assets',
  '/.well-known',
  ...Object.keys(METHODS),
];

/** Creates the listener for public requests, and one for the admin API if it has its own port. */
export function createRequestPipeline(settings: RequestPipelineSettings): RequestPipeline {
  const { config, breaker, difference, rateLimiter, clientCertificates, oidc, login, admin, registration } = settings;
  const { metrics, clock, log } = settings;
  const { issuer, adminPort } = config;
  const open = openRequests(clock, clientAddress(config.trustedProxies, reportIgnoredHeaders(log, clock)));
  // if this server receives certificates, a token may be bound to a certificate instead
  const dpop =
    config.clientDemands.senderConstrainedTokens && clientCertificates === undefined ? 'required' : 'supported';
  const described = oidc.describeProtectedResources(dpop, [{ path: ADMIN_PREFIX, scopes: ADMIN_SCOPES }]);
  const last = notFound({ methods: { ...METHODS, '/': ['GET'] }, page: settings.notFoundPage });
  const answers = listener(settings, open, [
    ...(config.production ? [] : [pagesAtIssuer(issuer)]),
    exactPaths(Object.keys(METHODS), last),
    login,
    described,
    ...(adminPort === undefined ? [admin] : []),
    registration.endpoint,
    registration.discovery,
    pageHeaders,
    oidc.middleware,
    last,
  ]);
  const admission = admissionOf(settings, open);
  const unless = (
    refuses: (request: IncomingMessage) => RateLimitRefusal | undefined,
    next: RequestListener,
  ): RequestListener => admitUnless(refuses, admission, next);
  const refusesOnWrongClock = (request: IncomingMessage): RateLimitRefusal | undefined =>
    difference.tooFar ? refuseUnlessClockIndependent(request) : undefined;
  const knownFailures = oidc.refuseKnownFailures(admission, answers);
  const addresses = unless((request) => rateLimiter.refusesAddress(open(request).address), knownFailures);
  const fastPath = oidc.fastPath(open, metrics)(addresses);
  const limitedClients = unless(oidc.refusesRateLimited, fastPath);
  // the cheapest check comes first
  const guarded = unless((request) => {
    breaker.noteUse();
    return rateLimiter.refusesAny() ?? refusesOnWrongClock(request);
  }, limitedClients);
  if (adminPort === undefined) return { public: guarded, admin: undefined };
  const guardedAdmin = unless(
    (request) => {
      breaker.noteUse();
      return refusesOnWrongClock(request);
    },
    listener(settings, open, [described, admin, last]),
  );
  return { public: guarded, admin: guardedAdmin };
}

/** Returns the settings for answering and counting refused requests. */
function admissionOf(
  { config: { issuer }, rateLimiter, metrics }: RequestPipelineSettings,
  open: OpenRequest,
): AdmissionSettings<RateLimitRefusal> {
  const base = new URL(issuer).pathname.replace(/\/$/, '');
  const routeOf = routeAmong(COUNTED_ROUTES);
  const pathOf = (url = ''): string => (url.startsWith(`${base}/`) ? url.slice(base.length).replace(/\?.*$/s, '') : '');
  return {
    open,
    holdBack: (refusal) => rateLimiter.holdBack(refusal),
    isForPrograms: ({ url }) => JSON_ENDPOINTS.includes(pathOf(url)),
    answered: ({ method = '', url }, status, began) => {
      metrics.observe({ method, route: routeOf(pathOf(url)), status, began });
    },
  };
}

/** Keys and discovery do not depend on the clock. All other responses would have wrong times. */
const CLOCK_INDEPENDENT = /^[^?]*\/(?:jwks(?:\/ml-dsa)?|\.well-known\/[^?]*)(?:\?|$)/;

function refuseUnlessClockIndependent({ url = '' }: IncomingMessage): RateLimitRefusal | undefined {
  if (CLOCK_INDEPENDENT.test(url)) return undefined;
  return { status: 503, retryAfterSeconds: 5, why: "this machine's clock is wrong", first: false };
}

/** Creates a listener: first the middleware for all requests, then `answers`, in their order. */
function listener(
  { config, cookieSignatures, metrics, log }: RequestPipelineSettings,
  open: OpenRequest,
  answers: readonly Middleware[],
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
  app.use(answerInJson(JSON_ENDPOINTS));
  app.use(metrics.measure(routeAmong(COUNTED_ROUTES)));
  for (const answer of answers) app.use(answer);
  const answer = app.callback();
  const milliseconds = config.answerMilliseconds;
  return (request, response) => {
    withTimeBudget({ began: open(request).began, milliseconds, response }, () => void answer(request, response));
  };
}
