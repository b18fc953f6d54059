/**
 * Limits the request bodies of the protocol's endpoints. The library would answer a body that is too large with 400,
 * and without the limit.
 */
import type { Context, Middleware } from 'koa';
import { errors } from 'oidc-provider';
import { Refused } from '../../base/refusal.ts';
import { readBody } from '../../http/body.ts';
import type { LibraryPages } from '../provider/page_interfaces.ts';
import { METHODS } from './routes.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/** The library's own limit (lib/shared/selective_body.js). */
const BODY_BYTES_AT_MOST = 56 * 1024;

/**
 * The server decodes and hashes a JWT in one of these parameters before it has authenticated the sender. The code that
 * reads other JWTs limits them itself.
 */
const LONGEST_JWT_CHARACTERS = 16_384;
const JWT_PARAMETERS = ['request', 'client_assertion', 'id_token_hint'];

/**
 * Reads a form before the library does and passes it on. Answers 413 if it is too large (RFC 9110, 15.5.14), 400 if a
 * JWT in it is too long.
 */
export function limitFormBodies({ renderError }: Pick<LibraryPages, 'renderError'>): Middleware {
  return async (ctx, next) => {
    const isForm = ctx.method === 'POST' && ctx.request.is('application/x-www-form-urlencoded');
    // the fast path may have read the body already, before its database connection broke (fast_path/fast_path.ts)
    if (!isForm || !Object.hasOwn(METHODS, ctx.path) || ctx.req.destroyed) return next();
    const body = await readBody(ctx, BODY_BYTES_AT_MOST).catch(bodyError);
    const refusal = Buffer.isBuffer(body) ? longJwtError(body) : body;
    if (Buffer.isBuffer(body) && !refusal) {
      replaceBody(ctx, body);
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

/** A form shorter than the longest permitted JWT is not parsed. */
function longJwtError(body: Buffer): errors.OIDCProviderError | undefined {
  if (body.length <= LONGEST_JWT_CHARACTERS) return undefined;
  const form = new URLSearchParams(body.toString('latin1'));
  const name = JWT_PARAMETERS.find((one) => form.getAll(one).some((value) => value.length > LONGEST_JWT_CHARACTERS));
  return name === undefined
    ? undefined
    : new errors.InvalidRequest(`${name} must not exceed ${LONGEST_JWT_CHARACTERS} characters`);
}

function bodyError(error: unknown): errors.OIDCProviderError {
  if (!(error instanceof Refused)) throw error;
  const { refusal } = error;
  if (refusal.reason !== 'too_large') return new errors.InvalidRequest('the request body is incomplete');
  return new errors.InvalidRequest(`the request body must not exceed ${refusal.limitBytes} bytes`, 413);
}

/** Makes the request yield the body that was already read, in one piece. */
function replaceBody({ req }: Context, body: Buffer): void {
  Object.defineProperties(req, { readable: { value: true }, iterator: { value: () => [body] } });
}
