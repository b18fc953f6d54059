/**
 * The rate limit of a client at the protocol's endpoints. Only an authenticated request is charged to the client. A
 * client that has exceeded its limit is refused before authentication; other senders can't cause this, because their
 * requests are not charged to it.
 */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { AuditEvent } from '../../audit/events.ts';
import type { Client } from '../../clients/client.ts';
import { quotaHeaders, refusalBody, refusalHeaders } from '../../http/admission.ts';
import { requestOf, type RequestContext } from '../../http/request_context.ts';
import type { Remaining } from '../../limits/rate_limit_buckets.ts';
import type { ProvenClient, RateLimitRefusal, RateLimiter } from '../../limits/rate_limiter.ts';
import { note, notesOf } from '../request/request_events.ts';

/** The routes that authenticate clients. */
export const AUTHENTICATED_ROUTES: ReadonlySet<string> = new Set([
  'token',
  'introspection',
  'revocation',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
]);

/** The library error for a request that exceeds a rate limit. */
export class TooManyRequests extends errors.OIDCProviderError {
  constructor(refusal: Pick<RateLimitRefusal, 'status' | 'retryAfterSeconds'>) {
    const { error, error_description } = refusalBody(refusal);
    super(refusal.status, error);
    this.error_description = error_description;
  }
}

/** Throws `TooManyRequests` if the client has exceeded its limit. */
export function refuseRateLimited(traffic: RateLimiter, ctx: KoaContextWithOIDC | undefined, clientId: string): void {
  if (!ctx || !AUTHENTICATED_ROUTES.has(ctx.oidc.route)) return;
  const refusal = traffic.refusesWhoNames(clientId);
  if (!refusal) return;
  if (refusal.first) note(ctx, clientThrottled(clientId, refusal));
  ctx.set(refusalHeaders(refusal));
  throw new TooManyRequests(refusal);
}

/** The authenticated client, as the rate limiter needs it. */
export function provenClient({ clientId, registration }: Client, { address }: RequestContext): ProvenClient {
  return { clientId, selfRegistered: registration !== null, address };
}

/** Charges an authenticated request to its client; call it after the answer. */
export function chargeClientRate(traffic: RateLimiter, ctx: KoaContextWithOIDC, client: Client | undefined): void {
  if (!client || client.metadata.token_endpoint_auth_method === 'none') return;
  if (!AUTHENTICATED_ROUTES.has(ctx.oidc.route)) return;
  if (notesOf(ctx).refusal?.error === 'invalid_client' || ctx.status === 429) return;
  traffic.charge(provenClient(client, requestOf(ctx)));
  const remaining = traffic.remaining(client.clientId);
  if (remaining) ctx.set(remainingHeaders(remaining));
}

/** The headers for a client that is close to its limit; others get none, to keep answers small. */
export function remainingHeaders({ quota, left, seconds }: Remaining): Record<string, string> {
  return quotaHeaders(quota, left, seconds);
}

/** The audit event for a client that exceeds its rate limit. */
export function clientThrottled(clientId: string, { retryAfterSeconds }: RateLimitRefusal): AuditEvent {
  const details = { retry_after_seconds: retryAfterSeconds };
  return { event: 'client.throttled', outcome: 'refused', clientId, details };
}
