/** The fields of an HTML form (application/x-www-form-urlencoded), read with a bound. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';

const LIMIT_BYTES = 16 * 1024;
/** How much of a body that is too large is still taken in, so that its sender gets to read our answer. */
const DRAIN_BYTES = 1024 * 1024;

/** Refuses other content types, compressed and oversized bodies, and fields that are given twice. */
export async function readForm(ctx: Context): Promise<Readonly<Record<string, string>>> {
  if (!ctx.request.is('application/x-www-form-urlencoded') || ctx.get('Content-Encoding')) {
    throw new Refused({ reason: 'unsupported_media_type', detail: 'The form was not sent in the way a browser sends it.' });
  }
  const fields = [...new URLSearchParams((await readBody(ctx)).toString('utf8'))];
  const form = Object.fromEntries(fields);
  if (Object.keys(form).length !== fields.length) throw invalid('', 'The form has a field twice.');
  return form;
}

async function readBody(ctx: Context): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // leaving the loop must not close the connection: the answer goes out on it
  for await (const chunk of ctx.req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= LIMIT_BYTES) chunks.push(chunk);
    if (bytes > DRAIN_BYTES) {
      ctx.set('Connection', 'close');
      break;
    }
  }
  if (bytes > LIMIT_BYTES) throw new Refused({ reason: 'too_large', limitBytes: LIMIT_BYTES });
  return Buffer.concat(chunks);
}
