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
import { noticeOf } from './notice.ts';
import { TEXTS } from './texts/texts.ts';

export const EXPIRED = noticeOf(TEXTS.errors.expired);

/** For a client that was never registered here, or that was removed, which happens to self-registered ones. */
export const UNKNOWN_APPLICATION = noticeOf(TEXTS.errors.unknownApplication);

/** The client of a login was removed while the person logged in. */
export class ApplicationRemoved extends Error {}

/** For a client that was revoked or an account that was disabled during the login. */
const ENDED = noticeOf(TEXTS.errors.ended);

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
      views.show(ctx, status, { tone: 'problem', ...page, link, requestId: idOnRecord(ctx) });
    }
  };
}

/** The page with the form that was sent; `undefined` if there is none, or if it is the account page. */
function formLink(views: Views<Page>, { method, path }: Context): NoticePage['link'] {
  const [page] = (method === 'POST' && /^\/(?:interaction|approve)\/[\w-]+/.exec(path)) || [];
  return page === undefined ? undefined : { text: TEXTS.goBack, href: views.path(page) };
}

function explain(error: unknown): { status: number; page: NoticePage } {
  if (error instanceof errors.SessionNotFound) return { status: 400, page: EXPIRED };
  if (error instanceof ApplicationRemoved) return { status: 400, page: UNKNOWN_APPLICATION };
  if (error instanceof errors.InvalidGrant) return { status: 403, page: ENDED };
  if (error instanceof Refused)
    return { status: statusOf(error.refusal), page: errorNotice(sentenceOf(error.refusal)) };
  if (isUnavailable(error)) return { status: 503, page: errorNotice(TEXTS.errors.unavailable) };
  return { status: 500, page: errorNotice(TEXTS.errors.oursHere) };
}

function errorNotice(sentence: string): NoticePage {
  return { page: 'notice', tone: 'problem', heading: TEXTS.errors.heading, sentences: [sentence] };
}

function sentenceOf(refusal: Refusal): string {
  switch (refusal.reason) {
    case 'invalid':
      return TEXTS.errors.badForm;
    case 'too_large':
      return TEXTS.errors.largeForm;
    case 'method_not_allowed':
      return TEXTS.errors.badMethod;
    default:
      return refusal.detail;
  }
}
