/** What every request carries through the house: an id, the address it came from, a clock reading. */
import type { IncomingMessage } from 'node:http';
import type { Context, Middleware } from 'koa';
import type { Clock } from '../base/clock.ts';
import { requestId } from '../base/ids.ts';
import type { AddressOf } from './client_address.ts';

export interface RequestContext {
  readonly id: string;
  readonly address: string;
  /** Read once, when the request arrived. */
  readonly now: Date;
  /** The same by `performance.now()`, for what must be done in time. */
  readonly began: number;
  /** Whether the trail, or the log, has the id. */
  onRecord: boolean;
}

const contexts = new WeakMap<object, RequestContext>();

/** The request's context, made when it is first asked for. */
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

/** Gives each request its context and tells the id to the caller, so that an answer can be found in the logs. */
export function requestContext(open: OpenRequest): Middleware {
  return (ctx, next) => {
    ctx.set('X-Request-Id', open(ctx.req).id);
    return next();
  };
}

export function requestOf(ctx: Pick<Context, 'req'>): RequestContext {
  const found = contexts.get(ctx.req);
  if (!found) throw new Error('requestContext() must come before whatever asks for it.');
  return found;
}

/** The request's id can be found from now on, so answers may show it. */
export function markOnRecord(ctx: Pick<Context, 'req'>): void {
  requestOf(ctx).onRecord = true;
}

/** The request's id for an error page or a problem; `undefined` where nothing could be found by it. */
export function idOnRecord(ctx: Pick<Context, 'req'>): string | undefined {
  const { id, onRecord } = requestOf(ctx);
  return onRecord ? id : undefined;
}
