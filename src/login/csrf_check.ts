/** Accepts forms only from our own pages, regardless of cookies (cross-site request forgery). */
import type { Context } from 'koa';
import { Refused } from '../base/refusal.ts';
import { TEXTS } from './texts/texts.ts';

/**
 * Throws if the form comes from another site. Browsers set both headers and pages cannot change them; a client that
 * sends neither is not a browser.
 */
export function requireSameOrigin(ctx: Context, issuer: string): void {
  const origin = ctx.get('Origin');
  const site = ctx.get('Sec-Fetch-Site');
  const foreign = (origin !== '' && origin !== new URL(issuer).origin) || !['', 'same-origin', 'none'].includes(site);
  if (foreign) throw new Refused({ reason: 'forbidden', detail: TEXTS.errors.foreignForm });
}
