/** Errors of requests that the client aborted, or whose bytes are not HTTP. The client caused them, not this server. */
import type { Context } from 'koa';

/**
 * Returns the code of such an error, or `undefined` for any other error. Log only the code: Node adds the bytes of the
 * request to the error, and they may contain secrets of the client.
 */
export function abortedRequestCode(error: unknown, ctx: Context | undefined): string | undefined {
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string') return undefined;
  if (code.startsWith('HPE_')) return code;
  const gone = ctx?.req.destroyed === true && !ctx.res.writableFinished;
  return gone && /^(ECONNRESET|EPIPE|ERR_STREAM_PREMATURE_CLOSE)$/.test(code) ? code : undefined;
}
