/** Reads a request's JSON body, up to a size limit. A request without a body reads as an empty object. */
import type { Context } from 'koa';
import { invalid, Refused } from '../base/refusal.ts';
import { readBody } from './body.ts';
import { parseJson } from './json_text.ts';

export interface JsonBody {
  /** The text as the client sent it, to compare requests. */
  readonly text: string;
  readonly value: unknown;
}

const LIMIT_BYTES = 64 * 1024;

/**
 * Returns the body. Refuses other content types, compressed and oversized bodies, and text that is not UTF-8 or not
 * JSON.
 */
export async function readJsonBody(ctx: Context, contentTypes: readonly string[]): Promise<JsonBody> {
  if (!announcesBody(ctx)) return { text: '', value: {} };
  refuseOtherTypes(ctx, contentTypes);
  const text = decode(await readBody(ctx, LIMIT_BYTES));
  return { text, value: text === '' ? {} : parseJson(text) };
}

function announcesBody(ctx: Context): boolean {
  return ctx.get('Transfer-Encoding') !== '' || (ctx.request.length ?? 0) > 0;
}

function refuseOtherTypes(ctx: Context, contentTypes: readonly string[]): void {
  const refuse = (detail: string): Refused => new Refused({ reason: 'unsupported_media_type', detail });
  if (!contentTypes.includes(ctx.request.type.toLowerCase()))
    throw refuse(`Send the body as ${contentTypes.join(' or ')}.`);
  if (!/^(utf-8)?$/i.test(ctx.request.charset)) throw refuse('Send the body in UTF-8.');
  if (!/^(identity)?$/i.test(ctx.get('Content-Encoding'))) throw refuse('Send the body uncompressed.');
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw invalid('', 'is not valid UTF-8');
  }
}
