/** The pages that oidc-provider shows itself (errors, device flow, logout), with our own texts and design. */
import type { Context } from 'koa';
import { errors, type ErrorOut, type KoaContextWithOIDC } from 'oidc-provider';
import { idOnRecord } from '../http/request_context.ts';
import { allowScript } from '../http/page_headers.ts';
import { createDevicePages, type DevicePages } from './device_pages.ts';
import { onwardLink } from './onward_link.ts';
import type { Application, Caution, FormPostPage, NoticePage, RedirectPage } from './pages.ts';
import { applicationOf as wordClient, wordCaution, type LoginDependencies } from './login_context.ts';
import { noticeOf } from './notice.ts';
import { compareWithClient } from './request_comparison.ts';
import { TEXTS } from './texts/texts.ts';
import { createViews } from './views.ts';
import { EXPIRED, UNKNOWN_APPLICATION } from './error_page.ts';
import { describeDestination } from './messages.ts';

/** Page functions for oidc-provider's configuration. */
export interface ProviderPages extends DevicePages {
  renderError(ctx: KoaContextWithOIDC, out: ErrorOut, error: Error): Promise<void>;
  /** `isDestinationRefused`: the request named an address to which the server does not redirect. */
  logoutSource(ctx: KoaContextWithOIDC, form: string, isDestinationRefused: boolean): Promise<void>;
  postLogoutSuccessSource(ctx: KoaContextWithOIDC, isDestinationRefused: boolean): Promise<void>;
  formPost(ctx: KoaContextWithOIDC, form: Pick<FormPostPage, 'action' | 'fields'>): void;
  confirmRedirect(ctx: KoaContextWithOIDC, redirect: Unconfirmed): void;
  /** Shows the page for a path that does not exist. */
  notFound(ctx: Context, status: number): void;
}

interface Unconfirmed extends Pick<RedirectPage, 'action' | 'fields' | 'error'> {
  readonly caution: Caution;
}

const SUBMIT = 'document.forms[0].submit()';

export interface ProviderPagesSettings extends Pick<LoginDependencies, 'issuer' | 'describeClient'> {
  /** Whether an error page may show what is registered for the client. */
  readonly development: boolean;
}

export function createProviderPages({ issuer, describeClient, development }: ProviderPagesSettings): ProviderPages {
  const views = createViews(issuer);
  const applicationOf = async ({ oidc: { client } }: KoaContextWithOIDC): Promise<Application | undefined> =>
    client && wordClient((await describeClient(client.clientId)) ?? { name: client.clientName ?? client.clientId });
  return {
    ...createDevicePages(views),
    renderError: async (ctx, { error, error_description: description }, cause) => {
      const notice = noticeFor(cause) ?? explain(ctx.status);
      // the page also tells of a database that can't be reached
      const application = await applicationOf(ctx).catch(() => undefined);
      const link = onwardLink(views, application);
      const compared = development && ctx.status < 500 ? compareWithClient(ctx) : undefined;
      const reported = { error: { code: error, description }, requestId: idOnRecord(ctx), compared };
      views.show(ctx, ctx.status, { tone: 'problem', ...notice, link, ...reported });
    },
    logoutSource: async (ctx, form, isDestinationRefused) => {
      const wanted = ctx.oidc.params?.['post_logout_redirect_uri'];
      const application = await applicationOf(ctx);
      const caution = wanted === undefined ? undefined : application?.caution;
      views.show(ctx, 200, {
        page: 'logout',
        form,
        formId: 'op.logoutForm',
        application: application?.name,
        staysHere: isDestinationRefused ? TEXTS.logout.staysHere : undefined,
        unchecked: caution === undefined ? undefined : { destination: describeDestination(wanted), caution },
      });
    },
    formPost: (ctx, { action, fields }) => {
      const destination =
        new URL(action, issuer).origin === new URL(issuer).origin ? undefined : describeDestination(action);
      views.show(ctx, ctx.status, { page: 'form_post', action, fields, destination, script: SUBMIT });
      allowScript(ctx, SUBMIT);
    },
    confirmRedirect: (ctx, redirect) => {
      views.show(ctx, redirect.error ? 400 : 200, {
        page: 'redirect',
        ...redirect,
        caution: wordCaution(redirect.caution),
        ...introduce(redirect.error?.code),
        application: nameOf(ctx) ?? TEXTS.theApplication,
        destination: describeDestination(redirect.action),
      });
    },
    notFound: (ctx, status) => views.show(ctx, status, { ...explain(status), link: onwardLink(views) }),
    postLogoutSuccessSource: async (ctx, isDestinationRefused) => {
      const { accountId } = await ctx.oidc.provider.Session.get(ctx);
      const application = await applicationOf(ctx);
      const { sentences, ...page } = farewell(application?.name, accountId !== undefined);
      views.show(ctx, 200, {
        ...page,
        sentences: isDestinationRefused ? [TEXTS.logout.staysHere, ...sentences] : sentences,
        link: onwardLink(views, application),
      });
    },
  };
}

function nameOf({ oidc: { client } }: KoaContextWithOIDC): string | undefined {
  return client && (client.clientName ?? client.clientId);
}

/** Returns heading and text for the outcome of a request that an application is told about. */
function introduce(errorCode: string | undefined): Pick<RedirectPage, 'heading' | 'sentence'> {
  switch (errorCode) {
    case undefined:
      return TEXTS.onward.loggedOut;
    case 'access_denied':
      return TEXTS.onward.denied;
    case 'login_required':
    case 'consent_required':
    case 'interaction_required':
    case 'account_selection_required':
      return TEXTS.onward.silent;
    default:
      return TEXTS.onward.invalid;
  }
}

/** The page for a failure that the person can end; `undefined` for others. */
function noticeFor(cause: Error): NoticePage | undefined {
  if (cause.name === 'SessionNotFound') return EXPIRED;
  const isUnknown = cause instanceof errors.InvalidClient && cause.error_detail === 'client not found';
  return isUnknown ? UNKNOWN_APPLICATION : undefined;
}

function explain(status: number): NoticePage {
  if (status === 404) return noticeOf(TEXTS.errors.noSuchPage);
  if (status < 500) return noticeOf(TEXTS.errors.unacceptable);
  return noticeOf({ heading: TEXTS.errors.heading, sentences: [TEXTS.errors.ours] });
}

/** Returns the page after a logout. The person may have chosen to log out of that application only. */
function farewell(application: string | undefined, stillLoggedIn: boolean): NoticePage {
  const { done, stayed, ofApplication } = TEXTS.logout;
  if (!stillLoggedIn) return { ...noticeOf(done), tone: 'done' };
  return application === undefined ? noticeOf(stayed) : noticeOf(ofApplication, { application });
}
