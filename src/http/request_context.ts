/** The context of a request: its id, the client's address, and its start time. */
import type { IncomingMessage } from 'node:http';
import type { Context, Middleware } from 'koa';
import type { Clock } from '../base/clock.ts';
import { requestId } from '../base/ids.ts';
import type { AddressOf } from './client_address.ts';

export interface RequestContext {
  readonly id: string;
  readonly address: string;
  /** The time when the request arrived. */
  readonly now: Date;
  /** The same time as `performance.now()`, to measure durations. */
  readonly began: number;
  /** Whether the audit trail or the log contains the id. */
  onRecord: boolean;
}

const contexts = new WeakMap<object, RequestContext>();

/** Returns the context of a request, and creates it on the first call. */
export type OpenRequest = (request: IncomingMessage) => RequestContext;

export function openRequests(clock: Clock, addressOf: AddressOf): OpenRequest {
  return (request) => {
    const known = contexts.get(request);
    if (known) return known;
    const now = clock();
    const context = { id: requestId(now), address: addressOf(request), now, began: performance.now(), onRecord: false };
    contexts.set(request, context);
    return context;
  };
}

/**
 * Creates each request's context and sends its id to the client, so that operators can find the request in the logs.
 */
export function requestContext(open: OpenRequest): Middleware {
  return (ctx, next) => {
    ctx.set('X-Request-Id', open(ctx.req).id);
    return next();
  };
}

export function requestOf(ctx: Pick<Context, 'req'>): RequestContext {
  const found = contexts.get(ctx.req);
  if (!found) throw new Error('The requestContext() middleware must run before requestOf().');
  return found;
}

/** Records that logs or audit trail now contain the request's id, so responses may show it. */
export function markOnRecord(ctx: Pick<Context, 'req'>): void {
  requestOf(ctx).onRecord = true;
}

/** Returns the request's id for an error page or problem; `undefined` if neither log nor trail contains it. */
export function idOnRecord(ctx: Pick<Context, 'req'>): string | undefined {
  const { id, onRecord } = requestOf(ctx);
  return onRecord ? id : undefined;
}
