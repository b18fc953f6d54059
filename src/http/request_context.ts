/** What every request carries through the house: an id, the address it came from, a clock reading. */
import { randomUUID } from 'node:crypto';
import type { Context, Middleware } from 'koa';
import type { Clock } from '../base/clock.ts';
import type { AddressOf } from './client_address.ts';

export interface RequestContext {
  readonly id: string;
  readonly address: string;
  /** Read once, when the request arrived. */
  readonly now: Date;
}

const contexts = new WeakMap<object, RequestContext>();

/** Gives each request its context and tells the id to the caller, so that an answer can be found in the logs. */
export function requestContext(
  clock: Clock,
  addressOf: AddressOf = (request) => request.socket.remoteAddress ?? '',
): Middleware {
  return (ctx, next) => {
    const request = { id: randomUUID(), address: addressOf(ctx.req), now: clock() };
    contexts.set(ctx.req, request);
    ctx.set('X-Request-Id', request.id);
    return next();
  };
}

export function requestOf(ctx: Pick<Context, 'req'>): RequestContext {
  const found = contexts.get(ctx.req);
  if (!found) throw new Error('requestContext() must come before whatever asks for it.');
  return found;
}
