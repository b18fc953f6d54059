/** What all pages of the account centre share: who is logged in, the menu, and how a form changes something. */
import type { Context } from 'koa';
import { listConsents } from '../../accounts/consents.ts';
import { listGrants, listSessions } from '../../accounts/sessions.ts';
import type { UnitOfWork } from '../../audit/unit_of_work.ts';
import { transact } from '../../db/transaction.ts';
import { requestOf } from '../../http/request_context.ts';
import { findApplication, originOfLogin, type LoginContext } from '../login_context.ts';
import { logoutLink } from '../logout_link.ts';
import { findSessionUser, formToken, type SessionUser } from '../session_user.ts';
import { TEXTS } from '../texts/texts.ts';
import type { AccountShell, AccountSubpage, Section, Subpage } from './account_pages.ts';

export const SECTIONS: readonly Section[] = ['profile', 'security', 'devices', 'applications', 'activity', 'data'];

/** Returns the path of a section's page. */
export function sectionPath({ views }: LoginContext, section: Section): string {
  return views.path(section === 'profile' ? '/account' : `/account/${section}`);
}

/** Shows a section to its person; shows everyone else how to log in. */
export function onSection(
  login: LoginContext,
  section: Section,
  show: (user: SessionUser, ctx: Context) => Promise<void>,
  doneTexts: Readonly<Record<string, string>> = {},
) {
  return async (ctx: Context): Promise<void> => {
    const user = await findSessionUser(login, ctx);
    if (user) return show(user, ctx);
    showLoggedOut(login, ctx, section, doneText(ctx, doneTexts));
  };
}

function showLoggedOut({ views }: LoginContext, ctx: Context, section: Section, done: string | undefined): void {
  const { heading, sentence, link } = TEXTS.account.loggedOut;
  const query = section === 'profile' ? '' : `?section=${section}`;
  views.show(ctx, 200, {
    page: 'notice',
    tone: done === undefined ? 'info' : 'done',
    heading,
    sentences: [...(done === undefined ? [] : [done]), sentence],
    link: { text: link, href: views.path(`/account/login${query}`) },
  });
}

/** Returns the text for what a form has done: the redirect after it names it in the query. */
export function doneText(ctx: Context, texts: Readonly<Record<string, string>>): string | undefined {
  const { done } = ctx.query;
  return typeof done === 'string' && Object.hasOwn(texts, done) ? texts[done] : undefined;
}

/** Describes what a page of the account centre shows around its section. */
export async function describeShell(
  login: LoginContext,
  ctx: Context,
  { account, session }: SessionUser,
  section: Section,
): Promise<AccountShell> {
  const counts = await countsOf(login, account.accountId, requestOf(ctx).now);
  return {
    section,
    email: account.email,
    name: account.name,
    formToken: formToken(session),
    logoutLink: logoutLink(login),
    menu: SECTIONS.map((one) => ({
      section: one,
      text: TEXTS.account[one].heading,
      href: sectionPath(login, one),
      count: counts[one],
    })),
  };
}

/** Describes what a page shows around it that belongs to a section and is not in the menu. */
export async function describeSubpage(
  login: LoginContext,
  ctx: Context,
  user: SessionUser,
  { section, subpage }: { readonly section: Section; readonly subpage: Subpage },
): Promise<AccountSubpage> {
  return { ...(await describeShell(login, ctx, user, section)), subpage, sectionLink: sectionPath(login, section) };
}

async function countsOf(login: LoginContext, accountId: string, now: Date): Promise<Partial<Record<Section, number>>> {
  const lifetime = { now, absoluteSeconds: login.sessionAbsoluteTtlSeconds };
  const { length: devices } = await listSessions(login.database, accountId, lifetime);
  const { size: applications } = await clientsWithAccess(login, accountId, now);
  return { devices, ...(applications > 0 && { applications }) };
}

/** Returns the ids of the clients that have access: by a remembered consent, or by a grant. */
async function clientsWithAccess({ database }: LoginContext, accountId: string, now: Date): Promise<Set<string>> {
  const consents = await listConsents(database, accountId);
  const grants = await listGrants(database, accountId, now);
  return new Set([...consents, ...grants].map(({ clientId }) => clientId));
}

/** Applies a change of the person's own account in one transaction. */
export function changeAccount<T>(
  { database, trail }: LoginContext,
  ctx: Context,
  accountId: string,
  apply: (work: UnitOfWork) => Promise<T>,
): Promise<T> {
  return transact(database, (tx) =>
    apply({ tx, trail, origin: originOfLogin(ctx, accountId), now: requestOf(ctx).now }),
  );
}

/** Redirects to a section's page, which says what was done. */
export function backTo(login: LoginContext, ctx: Context, section: Section, done: string): void {
  ctx.status = 303;
  ctx.redirect(`${sectionPath(login, section)}?done=${done}`);
}

export async function nameOf(login: LoginContext, clientId: string): Promise<string> {
  return (await findApplication(login, clientId))?.name ?? clientId;
}
