/**
 * The pages of one-time links. The address with the link's value uses up nothing: it moves the value into a cookie and
 * redirects to an address without it. The page there shows what the link does, and only its form uses the link. So a
 * program that opens links in mails does no harm, and no history, log or `Referer` of another page has the value.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import {
  changeEmail,
  LinkUnusable,
  reportChange,
  setPassword,
  takeEmailBack,
  type PresentedLink,
} from '../account_links/link_use.ts';
import { findAccount, type Account } from '../accounts/account.ts';
import { findLink, LINK_VALUE, type AccountLink } from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { Refused } from '../base/refusal.ts';
import { sha256 } from '../base/secret.ts';
import { transact } from '../db/transaction.ts';
import { undoLaterFactors } from '../factors/factor_disablers.ts';
import { credentialsBefore } from '../factors/factor_references.ts';
import { requestOf } from '../http/request_context.ts';
import type { LinkConfirmPage } from './credential_pages.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { logoutLink } from './logout_link.ts';
import { NewPasswordForm, newPasswordFields, readNewPassword, showWithScript } from './new_password.ts';
import { noticeOf, type NoticeTexts } from './notice.ts';
import type { NoticePage } from './pages.ts';
import { fill, TEXTS } from './texts/texts.ts';
import { findSessionUser, readFormFrom, type SessionUser } from './session_user.ts';

export const LINK_PATH = '/link';
/** Long enough to think of a password, or to log in before an address is changed. */
const COOKIE_SECONDS = 1_800;

const ConfirmForm = z.object({ form_token: z.string() });

/** A link that may be used, with its account. */
interface OpenLink {
  readonly value: string;
  readonly link: AccountLink;
  readonly account: Account;
}

/** Also takes values that no link has: this answer tells nothing about them. */
export function takeLinkValue(login: LoginContext, ctx: Context, value: string): void {
  if (LINK_VALUE.test(value))
    ctx.cookies.set(cookieName(login), value, { ...cookieOptions(login), maxAge: COOKIE_SECONDS * 1_000 });
  ctx.set({ 'Cache-Control': 'no-store', 'Referrer-Policy': 'no-referrer' });
  ctx.status = 303;
  ctx.redirect(login.views.path(LINK_PATH));
}

export async function showLink(login: LoginContext, ctx: Context): Promise<void> {
  const done = doneOf(ctx.query.done);
  if (done) return login.views.show(ctx, 200, { ...done, tone: 'done', link: toLogin(login) });
  const open = await findOpenLink(login, ctx);
  if (!open) return showUnusable(login, ctx);
  if (open.link.kind === 'email_change' && !(await findOwner(login, ctx, open))) return;
  await show(login, ctx, 200, open);
}

export async function submitLink(login: LoginContext, ctx: Context): Promise<void> {
  const open = await findOpenLink(login, ctx);
  if (!open) return showUnusable(login, ctx);
  try {
    const done = await use(login, ctx, open);
    if (done === undefined) return;
    ctx.cookies.set(cookieName(login), null, cookieOptions(login));
    ctx.status = 303;
    ctx.redirect(login.views.path(done === 'email' ? '/account?done=email' : `${LINK_PATH}?done=${done}`));
  } catch (error) {
    if (!(error instanceof LinkUnusable)) throw error;
    showUnusable(login, ctx);
  }
}

/** Returns what was done; `undefined` if another answer was sent. */
async function use(login: LoginContext, ctx: Context, open: OpenLink): Promise<string | undefined> {
  const { now } = requestOf(ctx);
  const presented: PresentedLink = { accountId: open.account.accountId, value: open.value };
  switch (open.link.kind) {
    case 'first_password':
    case 'reset': {
      const form = await readFormFrom(ctx, NewPasswordForm, tokenOf(open));
      const read = await readNewPassword(login, form, open.account);
      if ('problem' in read) {
        await show(login, ctx, 400, open, read.problem);
        return undefined;
      }
      const notices = await login.notices.open(now);
      await apply(login, ctx, (work) => setPassword(work, notices, presented, read.hash));
      return 'password';
    }
    case 'email_change': {
      const owner = await findOwner(login, ctx, open);
      if (!owner) return undefined;
      await readFormFrom(ctx, ConfirmForm, tokenOf(open));
      await changeEmailIn(login, ctx, owner, presented);
      return 'email';
    }
    case 'email_way_back': {
      await readFormFrom(ctx, ConfirmForm, tokenOf(open));
      const links = await login.links.open(now);
      await apply(login, ctx, (work) => takeEmailBack(work, { links, undo: undoLaterFactors }, presented));
      return 'email-back';
    }
    case 'report': {
      await readFormFrom(ctx, ConfirmForm, tokenOf(open));
      const links = await login.links.open(now);
      return apply(login, ctx, (work) => reportChange(work, { links, disablers: login.disablers }, presented));
    }
  }
}

/** The session of this browser gets a new id. */
async function changeEmailIn(
  login: LoginContext,
  ctx: Context,
  { session }: SessionUser,
  presented: PresentedLink,
): Promise<void> {
  const notices = await login.notices.open(requestOf(ctx).now);
  const renewal = login.renewSession(session);
  const change = async (work: UnitOfWork) => {
    await changeEmail(work, { notices, read: credentialsBefore }, presented, session.uid);
    if (!(await renewal.store(work.tx))) throw new Refused({ reason: 'forbidden', detail: TEXTS.errors.loggedOut });
  };
  await apply(login, ctx, change, presented.accountId);
  renewal.send(ctx);
}

function apply<T>(
  { database, trail }: LoginContext,
  ctx: Context,
  change: (work: UnitOfWork) => Promise<T>,
  accountId?: string,
): Promise<T> {
  const { now } = requestOf(ctx);
  return transact(database, (tx) => change({ tx, trail, origin: originOfLogin(ctx, accountId), now }));
}

async function findOpenLink(login: LoginContext, ctx: Context): Promise<OpenLink | undefined> {
  const value = ctx.cookies.get(cookieName(login), { signed: true });
  const link =
    value !== undefined && LINK_VALUE.test(value)
      ? await findLink(login.database, value, requestOf(ctx).now)
      : undefined;
  const account = link && (await findAccount(login.database, link.accountId));
  return value !== undefined && link && account && !account.disabledAt ? { value, link, account } : undefined;
}

/**
 * A new address is confirmed by the person who asked for it, in their session: a stranger who gets the mail because of a
 * mistyped address must not get the account. Otherwise sends the browser to the login, and returns `undefined`.
 */
async function findOwner(login: LoginContext, ctx: Context, { account }: OpenLink): Promise<SessionUser | undefined> {
  const user = await findSessionUser(login, ctx);
  if (user?.account.accountId === account.accountId) return user;
  if (user)
    throw new Refused({
      reason: 'forbidden',
      detail: TEXTS.accountLinks.otherAccount,
    });
  await login.logIn(ctx, login.views.path(LINK_PATH), await login.provider().Session.get(ctx));
  return undefined;
}

async function show(
  login: LoginContext,
  ctx: Context,
  status: number,
  open: OpenLink,
  problem?: string,
): Promise<void> {
  const form = { action: login.views.path(LINK_PATH), formToken: tokenOf(open) };
  const { kind } = open.link;
  if (kind === 'first_password' || kind === 'reset') {
    const fields = await newPasswordFields(login, open.account, problem);
    const isFirst = kind === 'first_password';
    return showWithScript(login, ctx, status, { page: 'link_password', isFirst, ...fields, ...form });
  }
  // only this one is shown in a session
  const session = kind === 'email_change' && { logoutLink: logoutLink(login) };
  login.views.show(ctx, status, { page: 'link_confirm', ...confirmationOf(kind, open), ...form, ...session });
}

type Confirmation = Pick<LinkConfirmPage, 'heading' | 'sentences' | 'button'>;

function confirmationOf(
  kind: keyof typeof TEXTS.accountLinks.confirm,
  { link, account: { email: current } }: OpenLink,
): Confirmation {
  const { heading, sentences, button } = TEXTS.accountLinks.confirm[kind];
  const values = { current, email: link.email ?? '' };
  return { heading, sentences: sentences.map((sentence) => fill(sentence, values)), button };
}

function doneOf(done: unknown): Pick<NoticePage, 'page' | 'heading' | 'sentences'> | undefined {
  const texts: Readonly<Record<string, NoticeTexts>> = TEXTS.accountLinks.done;
  const text = typeof done === 'string' && Object.hasOwn(texts, done) ? texts[done] : undefined;
  return text && noticeOf(text);
}

function showUnusable({ views }: LoginContext, ctx: Context): void {
  views.show(ctx, 404, {
    ...noticeOf(TEXTS.accountLinks.unusable),
    tone: 'problem',
    link: { text: TEXTS.accountLinks.goToLogin, href: views.path('/account/login') },
  });
}

function toLogin({ views }: LoginContext): NoticePage['link'] {
  return { text: TEXTS.accountLinks.logIn, href: views.path('/account/login') };
}

/** Covers the link, so that a page that was opened for one link can not use another one. */
function tokenOf({ value }: OpenLink): string {
  return sha256(`a form of the link ${value}`).toString('base64url');
}

function cookieName({ issuer }: LoginContext): string {
  return `${issuer.startsWith('https:') ? '__Secure-' : ''}gatehouse_link`;
}

/** `lax`: the browser comes from a mail program's page. */
function cookieOptions({ views, issuer }: LoginContext) {
  const path = views.path(LINK_PATH);
  return { httpOnly: true, sameSite: 'lax', secure: issuer.startsWith('https:'), signed: true, path } as const;
}
