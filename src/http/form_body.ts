/** Reads the fields of an HTML form (application/x-www-form-urlencoded), up to a size limit. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';
import { readBody } from './body.ts';

const LIMIT_BYTES = 16 * 1024;

/** Returns the fields. Refuses other content types, compressed and oversized bodies, and repeated fields. */
export async function readForm(ctx: Context): Promise<Readonly<Record<string, string>>> {
  if (!ctx.request.is('application/x-www-form-urlencoded') || ctx.get('Content-Encoding')) {
    throw new Refused({
      reason: 'unsupported_media_type',
      detail: 'The form was not sent in the way a browser sends it.',
    });
  }
  const fields = [...new URLSearchParams((await readBody(ctx, LIMIT_BYTES)).toString('utf8'))];
  const form = Object.fromEntries(fields);
  if (Object.keys(form).length !== fields.length) throw invalid('', 'The form has a field twice.');
  return form;
}
