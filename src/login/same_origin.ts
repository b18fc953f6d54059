/** Forms are taken from our own pages only, whatever cookies come with them (cross-site request forgery). */
import type { Context } from 'koa';
import { Refused } from '../base/refusal.ts';

/** Both headers are set by the browser and out of a page's reach; a client that sends neither is no browser. */
export function demandSameOrigin(ctx: Context, issuer: string): void {
  const origin = ctx.get('Origin');
  const site = ctx.get('Sec-Fetch-Site');
  const foreign = (origin !== '' && origin !== new URL(issuer).origin) || !['', 'same-origin', 'none'].includes(site);
  if (foreign)
    throw new Refused({ reason: 'forbidden', detail: 'This form was sent from another site, so nothing was done.' });
}
