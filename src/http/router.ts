/** Routes a request: finds its route, authorizes the caller, validates the input, and sends the reply. */
import Router, { type RouterContext } from '@koa/router';
import type { Context } from 'koa';
import type { z } from 'zod';
import { invalid, notFound, Refused } from '../base/refusal.ts';
import { inPlainWords, jsonPointer, violationsOf } from '../base/violations.ts';
import { readJsonBody, type JsonBody } from './json_body.ts';
import { isStorable } from './json_text.ts';
import { bodySchema, bodyTypes, paramsSchema, querySchema, type Reply, type Route } from './route.ts';

export interface RouterSettings<Caller, Call> {
  readonly prefix: string;
  readonly routes: readonly Route<Call>[];
  /** Authenticates and authorizes the caller before the body is read. Throws `Refused`. */
  admit(ctx: Context, route: Route<Call>): Promise<Caller>;
  /** Creates the handler's second argument. */
  open(ctx: Context, caller: Caller, body: JsonBody): Call;
}

export interface ApiRouter {
  /** Answers the request. Throws `Refused` for invalid requests, and for unknown paths and methods. */
  handle(ctx: Context): Promise<void>;
  /** Returns the route path of a request, with its parameters in braces; `undefined` if no route matches. */
  pathTemplate(ctx: Context): string | undefined;
}

export function createRouter<Caller, Call>(settings: RouterSettings<Caller, Call>): ApiRouter {
  const router = new Router({ prefix: settings.prefix, sensitive: true, strict: true });
  for (const route of settings.routes) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    router.register(path, [route.method], (ctx) => run(settings, route, ctx), { name: route.path });
  }
  const dispatch = router.routes();
  return {
    async handle(ctx) {
      const { path: found, route } = router.match(ctx.path, ctx.method);
      if (!route) throw unmatched(found.flatMap((layer) => layer.methods));
      await dispatch(ctx as RouterContext, () => Promise.resolve());
    },
    pathTemplate: ({ path, method }) => router.match(path, method).path[0]?.name,
  };
}

async function run<Caller, Call>(
  settings: RouterSettings<Caller, Call>,
  route: Route<Call>,
  ctx: RouterContext,
): Promise<void> {
  const caller = await settings.admit(ctx, route);
  const params = validate(paramsSchema(route), storable(Object.entries(ctx.params)), nameOf);
  const query = validate(querySchema(route), storable([...new URLSearchParams(ctx.querystring)]), nameOf);
  const body = route.method === 'GET' ? { text: '', value: {} } : await readJsonBody(ctx, bodyTypes(route));
  const input = { params, query, body: validate(bodySchema(route), body.value, jsonPointer) };
  send(ctx, await route.handle(input, settings.open(ctx, caller, body)));
}

function unmatched(methods: readonly string[]): Refused {
  if (methods.length === 0) return notFound('No resource exists at this path.');
  return new Refused({ reason: 'method_not_allowed', allowed: [...new Set(methods)] });
}

function storable(pairs: readonly (readonly [string, string])[]): Record<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of pairs) {
    if (values.has(name)) throw invalid(nameOf([name]), 'is given twice');
    if (!isStorable(value)) throw invalid(nameOf([name]), 'contains a NUL character or an unpaired surrogate');
    values.set(name, value);
  }
  return Object.fromEntries(values);
}

/** A parameter's name, short enough to repeat in a response. */
function nameOf([name = '']: readonly PropertyKey[]): string {
  return String(name).slice(0, 100);
}

function validate<T extends z.ZodType>(
  schema: T,
  value: unknown,
  name: (path: readonly PropertyKey[]) => string,
): z.output<T> {
  const parsed = schema.safeParse(value, { error: inPlainWords });
  if (parsed.success) return parsed.data;
  throw new Refused({ reason: 'invalid', violations: violationsOf(parsed.error, name) });
}

function send(ctx: Context, { status, headers = {}, body, stream }: Reply): void {
  ctx.status = status;
  ctx.set(headers);
  if (stream) {
    ctx.body = stream;
  } else if (body === undefined) {
    ctx.body = null;
  } else {
    ctx.set('Content-Type', 'application/json');
    ctx.body = JSON.stringify(body);
  }
}
