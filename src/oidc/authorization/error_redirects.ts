/**
 * Redirects to a self-registered application that the person has not consented to. A link to this server must not lead
 * to a site that an attacker chose (RFC 9700, 4.11.2), so a page shows the destination first.
 */
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { findConsent } from '../../accounts/consents.ts';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import { isSetByAdmin, type Client } from '../../clients/client.ts';
import type { Database } from '../../db/connection.ts';
import { cautionAbout, type Caution } from './consent_descriptions.ts';
import { formIn, type FormPost } from '../provider/form_post.ts';
import { notesOf } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/** A redirect that waits for the person's confirmation: a link, or a form if the response mode is form_post. */
export interface UnconfirmedRedirect {
  readonly action: string;
  readonly fields: FormPost['fields'] | undefined;
  /** A warning that the application's identity is not verified. */
  readonly caution: Caution;
  /** `undefined` after a logout. */
  readonly error: { readonly code: string; readonly description: string | undefined } | undefined;
}

export interface RedirectPages {
  confirmRedirect(ctx: KoaContextWithOIDC, redirect: UnconfirmedRedirect): void;
}

interface Settings {
  readonly issuer: string;
  readonly database: Database;
  readonly clock: Clock;
  readonly pages: RedirectPages;
}

/**
 * Adds the middleware to a provider; call it for each new provider. It reads the library's answer in any response mode.
 */
export function confirmErrorRedirects(provider: Provider, settings: Settings): void {
  provider.use(async (ctx, next) => {
    await next();
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    const answer = answerOf(context, settings.issuer);
    const { client } = context.oidc;
    if (!answer || !client) return;
    const record = recordOf(client);
    const caution = cautionAbout(record);
    if (caution === undefined || !(await mustConfirm(context, record, settings))) return;
    ctx.remove('Location');
    const { refusal } = notesOf(context);
    const error = refusal && { code: refusal.error, description: refusal.error_description };
    settings.pages.confirmRedirect(context, { ...answer, caution, error });
  });
}

/** The library's redirect, as a link or a form; `undefined` for a page and for an address of this server. */
function answerOf(ctx: KoaContextWithOIDC, issuer: string): Pick<UnconfirmedRedirect, 'action' | 'fields'> | undefined {
  const location = ctx.response.get('Location') || undefined;
  const form = location === undefined && typeof ctx.body === 'string' ? formIn(ctx.body) : undefined;
  const action = location ?? form?.action;
  if (action === undefined || URL.parse(action, issuer)?.origin === new URL(issuer).origin) return undefined;
  return { action, fields: form?.fields };
}

function mustConfirm(ctx: KoaContextWithOIDC, client: Client, settings: Settings): boolean | Promise<boolean> {
  switch (ctx.oidc.route) {
    case 'authorization':
    case 'resume':
      return mustConfirmError(ctx, client, settings);
    case 'end_session_confirm':
      // a person who was logged in has confirmed on a page that shows the destination
      return !isSetByAdmin(client, 'post_logout_redirect_uris') && ctx.oidc.session?.accountId === undefined;
    default:
      return false;
  }
}

async function mustConfirmError(ctx: KoaContextWithOIDC, client: Client, settings: Settings): Promise<boolean> {
  if (!notesOf(ctx).refusal || isSetByAdmin(client, 'redirect_uris')) return false;
  // the person has just consented on a page that shows the destination
  if (ctx.oidc.result?.consent) return false;
  if (ctx.oidc.params?.['prompt'] !== 'none') return true;
  // if this can't be determined at the moment, the person must confirm
  return !isInFrame(ctx) && !(await hasAgreedBefore(ctx, client, settings).catch(() => false));
}

/**
 * An application that renews its tokens silently uses a hidden frame, where the person sees no page and the address bar
 * shows the application. Only browsers set this header, and not for a link (Fetch Metadata).
 */
function isInFrame(ctx: KoaContextWithOIDC): boolean {
  return ctx.get('Sec-Fetch-Dest') === 'iframe';
}

async function hasAgreedBefore(
  { oidc }: KoaContextWithOIDC,
  { clientId }: Client,
  { database, clock }: Settings,
): Promise<boolean> {
  const accountId = oidc.session?.accountId;
  if (accountId === undefined) return false;
  const grantId = oidc.session?.grantIdFor(clientId);
  const grant = grantId === undefined ? undefined : await oidc.provider.Grant.find(grantId);
  if (grant && (grant.exp ?? 0) > epochSeconds(clock())) return true;
  return (await findConsent(database, accountId, clientId)) !== undefined;
}
