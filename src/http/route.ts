/**
 * One object for each call of an API. The router, the validation and the API's document are all made from it, so that
 * what is documented is what is checked, and what is checked is what the handler is typed with.
 */
import type { Readable } from 'node:stream';
import { z } from 'zod';

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** A request that its route's schemas have taken. */
export interface Input<Params = unknown, Query = unknown, Body = unknown> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}

export interface Reply<Body = unknown> {
  readonly status: number;
  readonly body?: Body | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it comes, in place of a body; its content type is among the headers. */
  readonly stream?: Readable;
}

/** Done, and nothing to show for it. */
export const NO_CONTENT: Reply<undefined> = { status: 204 };

export interface ReplyDescription<Body extends z.ZodType> {
  readonly status: number;
  readonly description: string;
  /** Left out where the reply has no body. */
  readonly body?: Body;
  readonly headers?: readonly string[];
  /** Content types that the same call also answers with, on request. */
  readonly alternatives?: readonly string[];
}

const Nothing = z.strictObject({});
type Nothing = typeof Nothing;

/** `Call` is what a handler gets beside its input: who asks, and what it may use. */
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
  /** What a caller must have been given to make this call; left out where anyone may. */
  readonly scope?: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: P;
  readonly query?: Q;
  /** Left out: the call takes no body, or an empty object. */
  readonly body?: B;
  readonly reply: ReplyDescription<R>;
  /** Statuses of the errors that are this call's own, beside those that every call has. */
  readonly refuses?: readonly number[];
  handle(input: Input<z.output<P>, z.output<Q>, z.output<B>>, call: Call): Promise<Reply<z.output<R>>>;
}

/** A route whose own types are behind it: all that the router and the document need. */
export type Route<Call> = Definition<z.ZodObject, z.ZodObject, z.ZodType, z.ZodType, Call>;

/** Gives a definition's handler the types of its schemas. Applied in two steps, because `Call` can't be inferred. */
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

/** The content types that a route's body may have. */
export function bodyTypes(route: Route<never>): readonly string[] {
  return route.method === 'PATCH' ? ['application/merge-patch+json', 'application/json'] : ['application/json'];
}
