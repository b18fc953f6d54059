/** Bodies of the protocol's endpoints. The library would answer one that is too large with 400, and name no limit. */
import type { Context, Middleware } from 'koa';
import { errors } from 'oidc-provider';
import { Refused } from '../../base/refusal.ts';
import { readBody } from '../../http/body.ts';
import type { ProviderPages } from '../provider/provider_pages.ts';
import { METHODS } from './routes.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/** What the library takes (lib/shared/selective_body.js). */
const BODY_BYTES_AT_MOST = 56 * 1024;

/** A JWT in one of these is decoded, and hashed for its signature, whoever sent it. Others are bounded where they are read. */
const LONGEST_JWT_CHARACTERS = 16_384;
const JWT_PARAMETERS = ['request', 'client_assertion', 'id_token_hint'];

/** Reads a form before the library does, and hands it over; answers 413 in its place (RFC 9110, 15.5.14). */
export function boundForms({ renderError }: Pick<ProviderPages, 'renderError'>): Middleware {
  return async (ctx, next) => {
    const isForm = ctx.method === 'POST' && ctx.request.is('application/x-www-form-urlencoded');
    // a fast path may have read it already, and lost its connection (fast_path/fast_path.ts)
    if (!isForm || !Object.hasOwn(METHODS, ctx.path) || ctx.req.destroyed) return next();
    const body = await readBody(ctx, BODY_BYTES_AT_MOST).catch(objection);
    const refusal = Buffer.isBuffer(body) ? objectionToJwts(body) : body;
    if (Buffer.isBuffer(body) && !refusal) {
      handOver(ctx, body);
      return next();
    }
    const { statusCode, error, error_description } = refusal!;
    ctx.status = statusCode;
    ctx.set('Cache-Control', 'no-store');
    const out = { error, ...(error_description !== undefined && { error_description }) };
    if (ctx.accepts('json', 'html') === 'html') return renderError(oidcContextOf(ctx), out, refusal!);
    ctx.body = out;
    return undefined;
  };
}

/** A form of few bytes holds no long JWT, and is not looked through. */
function objectionToJwts(body: Buffer): errors.OIDCProviderError | undefined {
  if (body.length <= LONGEST_JWT_CHARACTERS) return undefined;
  const form = new URLSearchParams(body.toString('latin1'));
  const name = JWT_PARAMETERS.find((one) => form.getAll(one).some((value) => value.length > LONGEST_JWT_CHARACTERS));
  return name === undefined
    ? undefined
    : new errors.InvalidRequest(`${name} may have ${LONGEST_JWT_CHARACTERS} characters at most`);
}

function objection(error: unknown): errors.OIDCProviderError {
  if (!(error instanceof Refused)) throw error;
  const { refusal } = error;
  if (refusal.reason !== 'too_large') return new errors.InvalidRequest('the body ended before it was complete');
  return new errors.InvalidRequest(`the body may have ${refusal.limitBytes} bytes at most`, 413);
}

/** As the request would yield it, in one piece. */
function handOver({ req }: Context, body: Buffer): void {
  Object.defineProperties(req, { readable: { value: true }, iterator: { value: () => [body] } });
}
