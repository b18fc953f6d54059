/** The page of a development server that shows the mails which it would send. */
import type { Context, Next } from 'koa';
import type { LoginContext } from './login_context.ts';
import { describeMoment } from './messages.ts';

export const MAILS_PATH = '/mails';

/**
 * Answers only requests that name the issuer's host: a page of another site whose name leads to this machine must not
 * read the mails. Without development mails the page does not exist.
 */
export async function showMails(
  { views, issuer, developmentMails }: LoginContext,
  ctx: Context,
  next: Next,
): Promise<void> {
  if (!developmentMails || ctx.req.headers.host !== new URL(issuer).host) return next();
  const mails = await developmentMails.latest();
  views.show(ctx, 200, {
    page: 'mails',
    mails: mails.map(({ to, subject, text, sentAt }) => ({
      to,
      subject,
      sentAt: describeMoment(sentAt),
      parts: text.split(/(https?:\/\/\S+)/).map((part, index) => ({ text: part, isLink: index % 2 === 1 })),
    })),
  });
}
