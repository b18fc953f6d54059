/** Reads the bytes of a request's body, up to a limit. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';

/**
 * Returns the body. Refuses a body of more than `limitBytes` without reading the rest, and a body that the client did
 * not send completely.
 */
export async function readBody(ctx: Context, limitBytes: number): Promise<Buffer> {
  const tooLarge = (): Refused => new Refused({ reason: 'too_large', limitBytes });
  if ((ctx.request.length ?? 0) > limitBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // leaving the loop must not close the connection, because the response uses it
    for await (const chunk of ctx.req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > limitBytes) break;
      chunks.push(chunk);
    }
  } catch {
    throw invalid('', 'is incomplete');
  }
  if (bytes > limitBytes) {
    // the rest of the body is discarded (lingering_close.ts)
    ctx.req.resume();
    throw tooLarge();
  }
  return Buffer.concat(chunks);
}
