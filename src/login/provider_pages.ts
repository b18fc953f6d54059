/** The pages that oidc-provider shows itself (errors, device flow, logout), with our own texts and design. */
import type { Context } from 'koa';
import { errors, type ErrorOut, type KoaContextWithOIDC } from 'oidc-provider';
import { idOnRecord } from '../http/request_context.ts';
import { allowScript } from '../http/page_headers.ts';
import { Views } from '../http/views.ts';
import { createDevicePages, type DevicePages } from './device_pages.ts';
import { onwardLink } from './onward_link.ts';
import type { Application, FormPostPage, NoticePage, Page, RedirectPage } from './pages.ts';
import type { LoginDependencies } from './login_context.ts';
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

type Unconfirmed = Pick<RedirectPage, 'action' | 'fields' | 'caution' | 'error'>;

const SUBMIT = 'document.forms[0].submit()';

export function createProviderPages({
  issuer,
  describeClient,
  ...descriptions
}: Pick<LoginDependencies, 'issuer' | 'describeScopes' | 'describeClient' | 'accessLifetimeOf'>): ProviderPages {
  const views = new Views<Page>(issuer);
  const applicationOf = async ({ oidc: { client } }: KoaContextWithOIDC): Promise<Application | undefined> =>
    client && ((await describeClient(client.clientId)) ?? { name: client.clientName ?? client.clientId });
  return {
    ...createDevicePages(views, { ...descriptions, applicationOf }),
    renderError: async (ctx, { error, error_description: description }, cause) => {
      const notice = noticeFor(cause) ?? explain(ctx.status);
      // the page also tells of a database that can't be reached
      const application = await applicationOf(ctx).catch(() => undefined);
      const link = onwardLink(views, application);
      views.show(ctx, ctx.status, { ...notice, link, error: { code: error, description }, requestId: idOnRecord(ctx) });
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
        staysHere: isDestinationRefused ? STAYS_HERE : undefined,
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
        ...introduce(redirect.error?.code),
        application: nameOf(ctx) ?? 'the application',
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
        sentences: isDestinationRefused ? [STAYS_HERE, ...sentences] : sentences,
        link: onwardLink(views, application),
      });
    },
  };
}

function nameOf({ oidc: { client } }: KoaContextWithOIDC): string | undefined {
  return client && (client.clientName ?? client.clientId);
}

const STAYS_HERE = 'You are not sent on: the address that the application asked for is not registered here.';

/** Returns heading and text for the outcome of a request that an application is told about. */
function introduce(errorCode: string | undefined): Pick<RedirectPage, 'heading' | 'sentence'> {
  switch (errorCode) {
    case undefined:
      return { heading: 'You are logged out', sentence: 'You are not logged in here.' };
    case 'access_denied':
      return { heading: 'Nothing was allowed', sentence: 'The request has ended, and the application got nothing.' };
    case 'login_required':
    case 'consent_required':
    case 'interaction_required':
    case 'account_selection_required':
      return {
        heading: 'This request can’t be completed',
        sentence: 'The application wanted to go on without asking you. That is not possible this time.',
      };
    default:
      return {
        heading: 'This request can’t be completed',
        sentence: 'The application sent something that this server can’t accept.',
      };
  }
}

/** The page for a failure that the person can end; `undefined` for others. */
function noticeFor(cause: Error): NoticePage | undefined {
  if (cause.name === 'SessionNotFound') return EXPIRED;
  const isUnknown = cause instanceof errors.InvalidClient && cause.error_detail === 'client not found';
  return isUnknown ? UNKNOWN_APPLICATION : undefined;
}

function explain(status: number): NoticePage {
  if (status === 404)
    return {
      page: 'notice',
      heading: 'There is no such page',
      sentences: ['Check the address, or go back to the application you came from.'],
    };
  if (status >= 500) {
    return {
      page: 'notice',
      heading: 'That did not work',
      sentences: ['Something went wrong on our side. Go back to the application and try again in a moment.'],
    };
  }
  return {
    page: 'notice',
    heading: 'This request can’t be completed',
    sentences: [
      'The application sent something that this server can’t accept. Go back to the application and try again; if it stays like this, tell the people who run it what it says below.',
    ],
  };
}

/** Returns the page after a logout. The person may have chosen to log out of that application only. */
function farewell(application: string | undefined, stillLoggedIn: boolean): NoticePage {
  if (!stillLoggedIn)
    return { page: 'notice', heading: 'You are logged out', sentences: ['You can close this window.'] };
  if (application === undefined)
    return { page: 'notice', heading: 'You are still logged in', sentences: ['Nothing was changed.'] };
  return {
    page: 'notice',
    heading: `You are logged out of ${application}`,
    sentences: ['Here, and in other applications, you are still logged in.'],
  };
}
