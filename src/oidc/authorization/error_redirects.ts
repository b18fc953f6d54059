/**
 * Redirects to an application that registered itself, where the person has not agreed to meet it. A link to this server
 * must not lead on to a site that somebody else chose (RFC 9700, 4.11.2): a page of ours names the destination first.
 */
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { findConsent } from '../../accounts/consents.ts';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import type { Client } from '../../clients/client.ts';
import type { Database } from '../../db/connection.ts';
import { cautionAbout } from './consent_descriptions.ts';
import { formIn, type FormPost } from '../provider/form_post.ts';
import { notesOf } from '../request/request_events.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { oidcContextOf } from '../provider/library_types.ts';

/** An answer that waits for the person: a link, or a form where it goes by POST. */
export interface UnconfirmedRedirect {
  readonly action: string;
  readonly fields: FormPost['fields'] | undefined;
  /** How little is known of the application, in a sentence. */
  readonly caution: string;
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

/** Call it for each provider that is built. It reads what the library answers, in whatever response mode. */
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

/** The redirect that the library made, as a link or as a form; `undefined` for a page and for an address of ours. */
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
      // a person who was logged in was asked, on a page that names the destination
      return !isSetByAdmin(client, 'post_logout_redirect_uris') && ctx.oidc.session?.accountId === undefined;
    default:
      return false;
  }
}

async function mustConfirmError(ctx: KoaContextWithOIDC, client: Client, settings: Settings): Promise<boolean> {
  if (!notesOf(ctx).refusal || isSetByAdmin(client, 'redirect_uris')) return false;
  // the consent page named the destination, and the person allowed it a moment ago
  if (ctx.oidc.result?.consent) return false;
  if (ctx.oidc.params?.['prompt'] !== 'none') return true;
  // where that can't be found out just now, the person is asked
  return !isInFrame(ctx) && !(await hasAgreedBefore(ctx, client, settings).catch(() => false));
}

/** An admin, or a trusted issuer's software statement, has set where the client leads; the client can't change it. */
function isSetByAdmin({ registration }: Client, member: 'redirect_uris' | 'post_logout_redirect_uris'): boolean {
  return registration?.heldMembers.includes(member) === true;
}

/**
 * An application that renews its tokens silently does so in a hidden frame, where a person sees no page and the address
 * bar keeps the application's own address. Only browsers set this header, and not for a link (Fetch Metadata).
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
