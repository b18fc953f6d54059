/** Requests that broke off, or stopped being HTTP half-way: what Node says of them is about the caller, not about us. */
import type { Context } from 'koa';

/**
 * The error's code where it is one of those. Never log the error itself: Node puts the bytes of the request into it,
 * and with them whatever the caller wanted to keep to itself.
 */
export function abortedRequests(error: unknown, ctx: Context | undefined): string | undefined {
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string') return undefined;
  if (code.startsWith('HPE_')) return code;
  const gone = ctx?.req.destroyed === true && !ctx.res.writableFinished;
  return gone && /^(ECONNRESET|EPIPE|ERR_STREAM_PREMATURE_CLOSE)$/.test(code) ? code : undefined;
}
