/** Shows an error on a login page as a page with a plain message, and logs the errors of the server. */
import type { Context, Middleware } from 'koa';
import { errors } from 'oidc-provider';
import { Refused, type Refusal } from '../base/refusal.ts';
import { isUnavailable } from '../db/connection.ts';
import { statusOf } from '../http/problem.ts';
import { idOnRecord, markOnRecord, requestOf } from '../http/request_context.ts';
import type { Views } from '../http/views.ts';
import { onwardLink } from './onward_link.ts';
import type { NoticePage, Page } from './pages.ts';
import type { LoginContext } from './login_context.ts';

export const EXPIRED: NoticePage = {
  page: 'notice',
  heading: 'This sign-in can’t go on',
  sentences: ['This sign-in has expired or was started in another browser. Go back to the application and try again.'],
};

/** For a client that was never registered here, or that was removed, which happens to self-registered ones. */
export const UNKNOWN_APPLICATION: NoticePage = {
  page: 'notice',
  heading: 'This application is not known here',
  sentences: [
    'It is not registered at this server. The registration of an application that registers itself ends if it is not used for a while.',
    'In the application, remove the connection to this service and add it again: the application then registers anew. If that does not help, tell the people who run the application what it says on this page.',
  ],
};

/** The client of a login was removed while the person logged in. */
export class ApplicationRemoved extends Error {}

/** For a client that was revoked or an account that was disabled during the login. */
const ENDED: NoticePage = {
  page: 'notice',
  heading: 'This sign-in can’t go on',
  sentences: [
    'The application, or your account, may not be used any more. If you did not expect that, ask the people who run this service.',
  ],
};

export function showErrors({ views, log }: LoginContext): Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      const { status, page } = explain(error);
      if (status >= 500) {
        log.error({ error, request_id: requestOf(ctx).id }, 'page.failed');
        markOnRecord(ctx);
      }
      if (status === 503) ctx.set('Retry-After', '1');
      const link = (page === EXPIRED || page === ENDED ? undefined : formLink(views, ctx)) ?? onwardLink(views);
      views.show(ctx, status, { ...page, link, requestId: idOnRecord(ctx) });
    }
  };
}

/** The page with the form that was sent; `undefined` if there is none, or if it is the account page. */
function formLink(views: Views<Page>, { method, path }: Context): NoticePage['link'] {
  const [page] = (method === 'POST' && /^\/(?:interaction|approve)\/[\w-]+/.exec(path)) || [];
  return page === undefined ? undefined : { text: 'Go back', href: views.path(page) };
}

function explain(error: unknown): { status: number; page: NoticePage } {
  if (error instanceof errors.SessionNotFound) return { status: 400, page: EXPIRED };
  if (error instanceof ApplicationRemoved) return { status: 400, page: UNKNOWN_APPLICATION };
  if (error instanceof errors.InvalidGrant) return { status: 403, page: ENDED };
  if (error instanceof Refused)
    return { status: statusOf(error.refusal), page: errorNotice(sentenceOf(error.refusal)) };
  if (isUnavailable(error))
    return { status: 503, page: errorNotice('The server can’t be reached in full just now. Try again in a moment.') };
  return {
    status: 500,
    page: errorNotice('Something went wrong on our side. Try again, and tell us if it stays like this.'),
  };
}

function errorNotice(sentence: string): NoticePage {
  return { page: 'notice', heading: 'That did not work', sentences: [sentence] };
}

function sentenceOf(refusal: Refusal): string {
  switch (refusal.reason) {
    case 'invalid':
      return 'The form was not filled in as it should be. Go back and try again.';
    case 'too_large':
      return 'The form holds more than this page can take.';
    case 'method_not_allowed':
      return 'This page can’t be used in that way.';
    default:
      return refusal.detail;
  }
}
