/** The bytes of a request's body, with a bound. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';

/** How much of a body that is too large is still taken in, so that its sender gets to read our answer. */
const DRAIN_BYTES = 1024 * 1024;

/** Refuses a body of more than `limitBytes`, and one that breaks off. */
export async function readBody(ctx: Context, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // leaving the loop must not close the connection: the answer goes out on it
    for await (const chunk of ctx.req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes <= limitBytes) chunks.push(chunk);
      if (bytes > DRAIN_BYTES) {
        ctx.set('Connection', 'close');
        break;
      }
    }
  } catch {
    throw invalid('', 'ended before it was complete');
  }
  if (bytes > limitBytes) throw new Refused({ reason: 'too_large', limitBytes });
  return Buffer.concat(chunks);
}
