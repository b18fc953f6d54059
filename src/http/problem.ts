/** Converts refusals to RFC 9457 problem details with one exhaustive switch. */
import type { Context } from 'koa';
import { z } from 'zod';
import type { Refusal, Violation } from '../base/refusal.ts';
import { idOnRecord } from './request_context.ts';

/** The body of every error. `type` is stable and for programs, `detail` is for people. */
export const Problem = z
  .strictObject({
    type: z.string().describe('Identifies the problem type; stable.'),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    request_id: z
      .string()
      .optional()
      .describe('Identifies this request in the audit trail or the log. Absent if neither contains it.'),
    errors: z
      .array(
        z.strictObject({
          pointer: z.string().optional().describe('A JSON pointer into the body.'),
          parameter: z.string().optional().describe('A path parameter, query parameter or header.'),
          detail: z.string(),
        }),
      )
      .optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.output<typeof Problem>;

interface WireForm {
  readonly status: number;
  readonly title: string;
  readonly detail?: string;
  readonly errors?: Problem['errors'];
  readonly headers?: Readonly<Record<string, string>>;
}

export function sendRefusal(ctx: Context, refusal: Refusal): void {
  send(ctx, refusal.reason, wireOf(refusal));
}

/** Answers a bug: the caller gets only the request id. */
export function sendInternalError(ctx: Context): void {
  send(ctx, 'internal_error', {
    status: 500,
    title: 'Internal error',
    detail: 'The server failed to process the request.',
  });
}

export function statusOf(refusal: Refusal): number {
  return wireOf(refusal).status;
}

function send(ctx: Context, reason: string, { headers = {}, ...wire }: WireForm): void {
  const request_id = idOnRecord(ctx);
  const type = `urn:gatehouse:problem:${reason}`;
  const problem: Problem = { type, ...wire, ...(request_id !== undefined && { request_id }) };
  ctx.set(headers);
  ctx.status = wire.status;
  ctx.set('Content-Type', 'application/problem+json');
  ctx.body = JSON.stringify(problem);
}

function wireOf(refusal: Refusal): WireForm {
  switch (refusal.reason) {
    case 'invalid':
      return {
        status: 400,
        title: 'Invalid request',
        detail: detailOf(refusal.violations),
        errors: refusal.violations.map(errorOf),
      };
    case 'unauthorized':
      return { status: 401, title: 'Unauthorized', detail: refusal.detail };
    case 'forbidden':
      return { status: 403, title: 'Forbidden', detail: refusal.detail };
    case 'not_found':
      return { status: 404, title: 'Not found', detail: refusal.detail };
    case 'method_not_allowed':
      return { status: 405, title: 'Method not allowed', headers: { Allow: refusal.allowed.join(', ') } };
    case 'conflict':
      return { status: 409, title: 'Conflict', detail: refusal.detail, headers: retryAfter(refusal.retryAfterSeconds) };
    case 'precondition_failed':
      return { status: 412, title: 'Precondition failed', detail: refusal.detail };
    case 'too_large':
      return { status: 413, title: 'Body too large', detail: `A body may have at most ${refusal.limitBytes} bytes.` };
    case 'unsupported_media_type':
      return { status: 415, title: 'Unsupported media type', detail: refusal.detail };
    case 'key_reused':
      return { status: 422, title: 'Idempotency key reused', detail: refusal.detail };
    case 'too_many_requests':
      return {
        status: 429,
        title: 'Too many requests',
        detail: refusal.detail,
        headers: retryAfter(refusal.retryAfterSeconds),
      };
    case 'unavailable':
      return {
        status: 503,
        title: 'Unavailable',
        detail: refusal.detail,
        headers: retryAfter(refusal.retryAfterSeconds),
      };
  }
}

function detailOf([first, ...others]: readonly Violation[]): string {
  if (!first) return 'The request is invalid.';
  const more = others.length === 0 ? '' : `; and ${others.length} more, see errors`;
  return `${first.path || 'The body'} ${first.detail}${more}.`;
}

function errorOf({
  path,
  detail,
}: Violation): { pointer: string; detail: string } | { parameter: string; detail: string } {
  return path === '' || path.startsWith('/') ? { pointer: path, detail } : { parameter: path, detail };
}

function retryAfter(seconds: number | undefined): Record<string, string> {
  return seconds === undefined ? {} : { 'Retry-After': String(seconds) };
}
