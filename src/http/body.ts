/** The bytes of a request's body, with a bound. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';

/** Refuses a body of more than `limitBytes` without reading it to its end, and one that breaks off. */
export async function readBody(ctx: Context, limitBytes: number): Promise<Buffer> {
  const tooLarge = (): Refused => new Refused({ reason: 'too_large', limitBytes });
  if ((ctx.request.length ?? 0) > limitBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // leaving the loop must not close the connection: the answer goes out on it
    for await (const chunk of ctx.req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > limitBytes) break;
      chunks.push(chunk);
    }
  } catch {
    throw invalid('', 'ended before it was complete');
  }
  if (bytes > limitBytes) {
    // the rest is thrown away (lingering_close.ts)
    ctx.req.resume();
    throw tooLarge();
  }
  return Buffer.concat(chunks);
}
