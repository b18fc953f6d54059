/**
 * One object describes each call of an API. The router, the validation, the handler's types and the OpenAPI document
 * all derive from it, so they cannot disagree.
 */
import type { Readable } from 'node:stream';
import { z } from 'zod';

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** A request that the schemas of its route have validated. */
export interface Input<Params = unknown, Query = unknown, Body = unknown> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}

export interface Reply<Body = unknown> {
  readonly status: number;
  readonly body?: Body | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body as a stream instead of `body`; `headers` contain its content type. */
  readonly stream?: Readable;
}

/** The reply to a change that returns no body. */
export const NO_CONTENT: Reply<undefined> = { status: 204 };

export interface ReplyDescription<Body extends z.ZodType> {
  readonly status: number;
  readonly description: string;
  /** Absent if the reply has no body. */
  readonly body?: Body;
  readonly headers?: readonly string[];
  /** Other content types that the call returns if the Accept header asks for them. */
  readonly alternatives?: readonly string[];
}

const Nothing = z.strictObject({});
type Nothing = typeof Nothing;

/** Describes a call. `Call` is the handler's second argument: the caller and its dependencies. */
export interface Definition<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodType,
  R extends z.ZodType,
  Call,
> {
  readonly method: Method;
  /** With parameters in braces, as in `/clients/{client_id}`. */
  readonly path: string;
  /** The scope that the caller needs; absent if the call is public. */
  readonly scope?: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: P;
  readonly query?: Q;
  /** Absent if the call accepts no body, or only an empty object. */
  readonly body?: B;
  readonly reply: ReplyDescription<R>;
  /** Error statuses of this call, besides those that all calls have. */
  readonly refuses?: readonly number[];
  handle(input: Input<z.output<P>, z.output<Q>, z.output<B>>, call: Call): Promise<Reply<z.output<R>>>;
}

/** A route without the types of its schemas, as the router and the OpenAPI document use it. */
export type Route<Call> = Definition<z.ZodObject, z.ZodObject, z.ZodType, z.ZodType, Call>;

/** Types a definition's handler by its schemas. Two calls, because `Call` cannot be inferred. */
export function routeOf<Call>() {
  return <
    P extends z.ZodObject = Nothing,
    Q extends z.ZodObject = Nothing,
    B extends z.ZodType = Nothing,
    R extends z.ZodType = z.ZodUndefined,
  >(
    definition: Definition<P, Q, B, R, Call>,
  ): Route<Call> => definition;
}

export function paramsSchema(route: Route<never>): z.ZodObject {
  return route.params ?? Nothing;
}

export function querySchema(route: Route<never>): z.ZodObject {
  return route.query ?? Nothing;
}

export function bodySchema(route: Route<never>): z.ZodType {
  return route.body ?? Nothing;
}

/** Returns the content types that the route accepts. */
export function bodyTypes(route: Route<never>): readonly string[] {
  return route.method === 'PATCH' ? ['application/merge-patch+json', 'application/json'] : ['application/json'];
}
