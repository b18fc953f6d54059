/** Generates the OpenAPI 3.1 document from the routes, so that it always matches their behavior. */
import { z } from 'zod';
import { detailsSchema, EVENT_NAMES, type EventName } from '../audit/catalogue.ts';
import { Problem } from '../http/problem.ts';
import { bodyTypes, paramsSchema, querySchema } from '../http/route.ts';
import { adminRoute, type AdminRoute } from './admin_call.ts';
import { ADMIN_SCOPES, adminResourceIdentifier } from './scopes.ts';

type Json = { [member: string]: unknown };

/** All error responses, by status. The route determines which of them a call can return. */
const ERRORS: Readonly<Record<number, { readonly description: string; readonly headers?: readonly string[] }>> = {
  400: { description: 'The request is invalid; `errors` lists each problem.' },
  401: {
    description: 'The access token is missing or not valid for the admin API.',
    headers: ['WWW-Authenticate', 'DPoP-Nonce'],
  },
  403: {
    description: 'The token lacks the scope, or the caller lacks admin scopes that the object has.',
    headers: ['WWW-Authenticate'],
  },
  404: { description: 'Not found.' },
  409: { description: 'The request conflicts with the current state.', headers: ['Retry-After'] },
  412: { description: 'The object has changed since the version in If-Match.' },
  413: { description: 'The body is too large.' },
  415: { description: 'The body has the wrong content type.' },
  422: { description: 'The Idempotency-Key was used with a different request.' },
  503: { description: 'The database is not available.', headers: ['Retry-After'] },
};

const HEADERS: Readonly<Record<string, Json>> = {
  ETag: { description: 'The version, for If-Match and If-None-Match.', schema: { type: 'string' }, example: '"3"' },
  Location: { description: 'The URL of the new object.', schema: { type: 'string', format: 'uri' } },
  'X-Request-Id': {
    description: 'Identifies this request in the log, and in the audit trail if it has an event of its own.',
    schema: { type: 'string' },
  },
  'Idempotency-Replayed': {
    description: 'Present if this is the stored reply of an earlier request with the same key.',
    schema: { const: 'true' },
  },
  'Retry-After': { description: 'Seconds to wait.', schema: { type: 'integer' } },
  'DPoP-Nonce': { description: 'The nonce for the next DPoP proof (RFC 9449, 8).', schema: { type: 'string' } },
  'WWW-Authenticate': {
    description: 'The authentication schemes and what the request lacks (RFC 6750, RFC 9449).',
    schema: { type: 'string' },
  },
};

/** Returns the route of the document. It needs no token: the document contains only public information. */
export function documentRoute(issuer: string, others: readonly AdminRoute[]): AdminRoute {
  const route: AdminRoute = adminRoute({
    method: 'GET',
    path: '/openapi.json',
    tag: 'document',
    summary: 'This document',
    reply: { status: 200, description: 'An OpenAPI 3.1 document.', body: z.record(z.string(), z.unknown()) },
    // generated on the first request: this takes as long as a tenth of the start
    handle: () => Promise.resolve({ status: 200, body: (document ??= openApiDocument(issuer, [...others, route])) }),
  });
  let document: Json | undefined;
  return route;
}

function openApiDocument(issuer: string, routes: readonly AdminRoute[]): Json {
  const schemas = new Schemas();
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route, schemas) };
  }
  Object.assign(schemas.named['AuditEvent'] ?? {}, { oneOf: EVENT_NAMES.map((name) => detailsOf(name, schemas)) });
  return {
    openapi: '3.1.0',
    info: {
      title: 'Gatehouse admin API',
      version: '1',
      description:
        'Errors are problem details (RFC 9457). Writes accept an Idempotency-Key. Unknown members and parameters are refused.',
    },
    servers: [{ url: adminResourceIdentifier(issuer) }],
    paths,
    components: {
      headers: HEADERS,
      responses: errorResponses(schemas),
      schemas: schemas.named,
      securitySchemes: {
        oauth2: {
          type: 'oauth2',
          description: `Request tokens with resource=${adminResourceIdentifier(issuer)}.`,
          flows: {
            clientCredentials: {
              tokenUrl: `${issuer}/token`,
              scopes: Object.fromEntries(ADMIN_SCOPES.map(({ name, description }) => [name, description])),
            },
          },
        },
        dpop: {
          type: 'http',
          scheme: 'DPoP',
          description:
            'For tokens bound to a key: send the scheme DPoP in the Authorization header and a new proof in the DPoP header of each request (RFC 9449).',
        },
        certificate: {
          type: 'mutualTLS',
          description: 'For tokens bound to a client certificate, if this server sees client certificates (RFC 8705).',
        },
      },
    },
  };
}

/** Binds the schema of the details to the event name. */
function detailsOf(name: EventName, schemas: Schemas): Json {
  return { properties: { event: { const: name }, details: schemas.of(detailsSchema(name), 'output') } };
}

function operation(route: AdminRoute, schemas: Schemas): Json {
  const { method, path, scope, tag, summary, description } = route;
  return {
    operationId: operationId(method, path),
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    security: scope === undefined ? [] : securityOf(scope),
    parameters: parameters(route, schemas),
    ...(route.body && {
      requestBody: {
        required: !accepts(route.body, {}),
        content: Object.fromEntries(
          bodyTypes(route).map((type) => [type, { schema: schemas.of(route.body!, 'input') }]),
        ),
      },
    }),
    responses: { [route.reply.status]: success(route, schemas), ...notModified(route), ...errors(route) },
  };
}

/** A bearer token, or a token bound to a key or a certificate. */
function securityOf(scope: string): Json[] {
  return [{ oauth2: [scope] }, { oauth2: [scope], dpop: [] }, { oauth2: [scope], certificate: [] }];
}

function parameters(route: AdminRoute, schemas: Schemas): Json[] {
  const described = (place: 'path' | 'query', object: z.ZodObject): Json[] =>
    Object.entries(object.shape).map(([name, member]) => {
      const { description, ...schema } = schemas.of(member as z.ZodType, 'input');
      const required = place === 'path' || !accepts(member as z.ZodType, undefined);
      return { name, in: place, required, ...(description !== undefined && { description }), schema };
    });
  const header = (name: string, text: string): Json => ({
    name,
    in: 'header',
    description: text,
    schema: { type: 'string' },
  });
  const refuses = route.refuses ?? [];
  return [
    ...described('path', paramsSchema(route)),
    ...described('query', querySchema(route)),
    ...(route.method === 'GET'
      ? []
      : [
          header(
            'Idempotency-Key',
            'Up to 255 visible ASCII characters. The same key gets the same reply for one day.',
          ),
        ]),
    ...(refuses.includes(412) ? [header('If-Match', 'Apply the change only if the object has this version.')] : []),
    ...(hasTag(route) && route.method === 'GET'
      ? [header('If-None-Match', 'Send the object only if it has another version.')]
      : []),
  ];
}

function success(route: AdminRoute, schemas: Schemas): Json {
  const { description, body, headers = [], alternatives = [] } = route.reply;
  const names = ['X-Request-Id', ...headers, ...(route.method === 'GET' ? [] : ['Idempotency-Replayed'])];
  const others = alternatives.map((type) => [type, { schema: { type: 'string' } }] as const);
  const json = body && { 'application/json': { schema: schemas.of(body, 'output') } };
  const content = { ...json, ...Object.fromEntries(others) };
  return { description, headers: headerRefs(names), ...(Object.keys(content).length > 0 && { content }) };
}

function notModified(route: AdminRoute): Json {
  if (route.method !== 'GET' || !hasTag(route)) return {};
  return { 304: { description: 'The object still has this version.', headers: headerRefs(['ETag']) } };
}

function errors(route: AdminRoute): Json {
  const admission = route.scope === undefined ? [] : [401, 403];
  const writing = route.method === 'GET' ? [] : [413, 415, 422];
  const statuses = [400, ...admission, ...(route.refuses ?? []), ...writing, 503];
  return Object.fromEntries(
    statuses.map((status) => [status, { $ref: `#/components/responses/${responseName(status)}` }]),
  );
}

function errorResponses(schemas: Schemas): Json {
  const content = { 'application/problem+json': { schema: schemas.of(Problem, 'output') } };
  const responses = Object.entries(ERRORS).map(([status, { description, headers = [] }]) => [
    responseName(Number(status)),
    { description, headers: headerRefs(['X-Request-Id', ...headers]), content },
  ]);
  return Object.fromEntries(responses);
}

function responseName(status: number): string {
  return `Error${status}`;
}

function headerRefs(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

function hasTag(route: AdminRoute): boolean {
  return route.reply.headers?.includes('ETag') === true;
}

function accepts(schema: z.ZodType, value: unknown): boolean {
  return schema.safeParse(value).success;
}

/** `GET /clients/{client_id}/secrets` becomes `get_clients_secrets`, and with the parameter last `get_clients_by_client_id`. */
function operationId(method: string, path: string): string {
  const last = /\{(\w+)\}$/.exec(path)?.[1];
  const words = path
    .replaceAll(/\/\{\w+\}/g, '')
    .split('/')
    .filter(Boolean);
  return [
    method.toLowerCase(),
    ...words.map((word) => word.replaceAll(/\W/g, '_')),
    ...(last === undefined ? [] : ['by', last]),
  ].join('_');
}

/** Collects the named schemas, so that the document contains each of them once. */
class Schemas {
  readonly named: Record<string, unknown> = {};

  of(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $schema: _, $defs = {}, ...rest } = z.toJSONSchema(schema, { io }) as Json & { $defs?: Json };
    const { named, root } = JSON.parse(
      JSON.stringify({ named: $defs, root: rest }).replaceAll('"#/$defs/', '"#/components/schemas/'),
    ) as { named: Json; root: Json };
    Object.assign(this.named, named);
    return root;
  }
}
