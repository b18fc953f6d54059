/**
 * Failed client authentications at the protocol's endpoints. They are counted after the library has refused them;
 * beyond a limit the answer is 429 in place of 401. For a secret in the Authorization header, the check happens before
 * the rest of the request is read; a correct secret is always accepted (see limits/failed_authentications.ts).
 */
import type { IncomingMessage, RequestListener } from 'node:http';
import { decodeJwt } from 'jose';
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { AuditEvent } from '../../audit/events.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import { NotCompared, type SecretVerifier } from '../../clients/secret_verifier.ts';
import { refusalBody, refusalHeaders, refuse, type AdmissionSettings } from '../../http/admission.ts';
import { requestOf } from '../../http/request_context.ts';
import type { FailedAuthentications } from '../../limits/failed_authentications.ts';
import type { RateLimitRefusal, RateLimiter } from '../../limits/rate_limiter.ts';
import { AUTHENTICATED_ROUTES } from './client_rate_limit.ts';
import { note, notesOf } from '../request/request_events.ts';

export interface KnownFailuresSettings extends AdmissionSettings<RateLimitRefusal> {
  readonly failures: FailedAuthentications;
  readonly clients: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly isAuthenticationRequest: IsAuthenticationRequest;
}

/** True if the request is for an endpoint that authenticates clients; other endpoints ignore the credentials. */
export type IsAuthenticationRequest = (request: IncomingMessage) => boolean;

/** `paths` maps each route to its path below the issuer's. */
export function authenticationRequestMatcher(
  issuer: string,
  paths: Readonly<Record<string, string>>,
): IsAuthenticationRequest {
  const base = new URL(issuer).pathname.replace(/\/$/, '');
  const theirs = new Set([...AUTHENTICATED_ROUTES].map((route) => `${base}${paths[route]}`));
  return ({ url = '' }) => theirs.has(url.replace(/\?.*$/s, ''));
}

/** Wraps `listener`: refuses wrong secrets of senders that have already exceeded the limit. */
export function refuseKnownFailures(settings: KnownFailuresSettings, listener: RequestListener): RequestListener {
  const { failures, open, isAuthenticationRequest } = settings;
  return (request, response) => {
    const credentials = isAuthenticationRequest(request) ? basicCredentials(request) : undefined;
    const refusal = credentials && failures.refuses(credentials.clientId, open(request).address);
    if (!refusal) return listener(request, response);
    isRight(settings, request, credentials).then(
      (right) => {
        if (right) return listener(request, response);
        failures.noteRefused();
        refuse(request, response, refusal, settings);
      },
      // the ordinary request path reports the failure
      () => listener(request, response),
    );
  };
}

/**
 * Refuses a request without reading its body if it names a client that was refused recently and still exceeds its rate
 * limit.
 */
export function rateLimitCheck(
  traffic: RateLimiter,
  isAuthenticationRequest: IsAuthenticationRequest,
): (request: IncomingMessage) => RateLimitRefusal | undefined {
  return (request) => {
    if (!traffic.refusedClientsLately || !isAuthenticationRequest(request)) return undefined;
    const credentials = basicCredentials(request);
    return credentials && traffic.refusesAgain(credentials.clientId);
  };
}

interface Credentials {
  readonly clientId: string;
  readonly secret: string;
}

async function isRight(
  { clients, verifier, open }: KnownFailuresSettings,
  request: IncomingMessage,
  { clientId, secret }: Credentials,
): Promise<boolean> {
  const { address, now } = open(request);
  const client = await clients.find(clientId);
  if (!client || client.revokedAt) return false;
  const found = await verifier.verify(client, { secret, address }, now).catch((error: unknown) => {
    if (error instanceof NotCompared) return undefined;
    throw error;
  });
  return found !== undefined;
}

/** RFC 6749, 2.3.1. Returns `undefined` for a malformed header, which the ordinary request path refuses. */
function basicCredentials({ headers: { authorization = '' } }: IncomingMessage): Credentials | undefined {
  const [, encoded] = /^basic ([A-Za-z0-9+/]+={0,2})$/i.exec(authorization) ?? [];
  if (encoded === undefined) return undefined;
  const [, clientId, secret] = /^([^:]+):(.+)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
  if (clientId === undefined || secret === undefined) return undefined;
  try {
    return { clientId: decode(clientId), secret: decode(secret) };
  } catch {
    return undefined;
  }
}

function decode(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}

/** Counts a failed authentication that the library has refused; beyond the limit, replaces the answer with 429. */
export async function countFailure(failures: FailedAuthentications, ctx: KoaContextWithOIDC): Promise<void> {
  const { events, refusal: found } = notesOf(ctx);
  if (found?.error !== 'invalid_client' || found.statusCode !== 401 || !AUTHENTICATED_ROUTES.has(ctx.oidc.route))
    return;
  const refusal = await failures.count(namedClient(ctx), requestOf(ctx).address);
  if (!refusal) return;
  // keeps other events, such as a replayed assertion, which are more serious than a wrong secret
  const others = events.filter(({ details = {} }) => !('error' in details) || details.error !== 'invalid_client');
  events.splice(0, events.length, ...others);
  if (refusal.first)
    note(ctx, throttled(ctx.oidc.client?.clientId, refusal, found.error_detail ?? found.error_description));
  ctx.remove('WWW-Authenticate');
  ctx.status = refusal.status;
  ctx.set(refusalHeaders(refusal));
  ctx.body = refusalBody(refusal);
  ctx.type = 'json';
}

/** The client id that the request names, whether that client exists or not. */
function namedClient({ req, oidc }: KoaContextWithOIDC): string | undefined {
  const { client_id: named, client_assertion: assertion } = oidc.params ?? {};
  const name = oidc.client?.clientId ?? basicCredentials(req)?.clientId ?? named;
  if (typeof name === 'string') return name;
  try {
    const { sub } = decodeJwt<{ sub?: unknown }>(String(assertion));
    // unverified
    return typeof sub === 'string' ? sub : undefined;
  } catch {
    return undefined;
  }
}

function throttled(
  clientId: string | undefined,
  { quota, retryAfterSeconds }: RateLimitRefusal,
  reason?: string,
): AuditEvent {
  const details = { limit: quota?.name ?? 'node', reason, retry_after_seconds: retryAfterSeconds };
  return { event: 'client.authentication_throttled', outcome: 'refused', clientId, details };
}
