/**
 * Turns the error of a failed call into a problem for the caller, an audit event for refusals, and a log line for
 * errors of the server.
 */
import type { Context } from 'koa';
import type { AuditTrail } from '../audit/trail.ts';
import { Refused, type Refusal } from '../base/refusal.ts';
import { isUnavailable } from '../db/connection.ts';
import { sendInternalError, sendRefusal, statusOf } from '../http/problem.ts';
import { markOnRecord, requestOf } from '../http/request_context.ts';
import type { Logger } from '../log.ts';
import type { Caller } from './authentication.ts';
import { originOfCall } from './admin_call.ts';

export interface FailedCall {
  readonly ctx: Context;
  /** Set if the caller was authenticated before the call failed. */
  readonly caller: Caller | undefined;
  /**
   * The route with its parameters in braces: values that a caller puts into a path do not belong in the audit trail.
   */
  readonly path: string | undefined;
  readonly error: unknown;
}

const OUTAGE: Refusal = {
  reason: 'unavailable',
  detail: 'The database is not available; try again in a moment.',
  retryAfterSeconds: 1,
};

export async function answerFailure(
  { trail, log }: { readonly trail: AuditTrail; readonly log: Logger },
  failed: FailedCall,
): Promise<void> {
  const { ctx } = failed;
  try {
    if (!(failed.error instanceof Refused)) throw failed.error;
    await recordRefused(trail, failed, failed.error.refusal);
    sendRefusal(ctx, failed.error.refusal);
  } catch (error) {
    const fields = { error, request_id: requestOf(ctx).id };
    markOnRecord(ctx);
    if (isUnavailable(error)) {
      log.warn(fields, 'admin_call.not_served');
      sendRefusal(ctx, OUTAGE);
    } else {
      log.error(fields, 'admin_call.failed');
      sendInternalError(ctx);
    }
  }
}

async function recordRefused(trail: AuditTrail, { ctx, caller, path }: FailedCall, refusal: Refusal): Promise<void> {
  const status = statusOf(refusal);
  if (status >= 500) return;
  const details = { method: ctx.method, path: path ?? null, status, reason: refusal.reason };
  const event = { event: 'admin_call.refused', outcome: 'refused', details } as const;
  if (await trail.refusals.record(originOfCall(ctx, caller), event)) markOnRecord(ctx);
}
