/** The profile: who the person is here, which applications see that, and requests that wait for a decision. */
import type { Context } from 'koa';
import { requestOf } from '../../http/request_context.ts';
import { approvalPath } from '../approval_page.ts';
import type { LoginContext } from '../login_context.ts';
import { describeDay, describeMoment } from '../messages.ts';
import type { SessionUser } from '../session_user.ts';
import { TEXTS } from '../texts/texts.ts';
import type { ProfilePage } from './account_pages.ts';
import { describeShell, doneText, nameOf, sectionPath } from './account_shell.ts';
import { EMAIL_PATH } from './email_page.ts';
import { applicationsOf } from './applications_section.ts';

/** The scopes that let an application see something of the profile. */
const REVEALING = new Set(['profile', 'email', 'address', 'phone']);

export const PROFILE_DONE: Readonly<Record<string, string>> = TEXTS.account.profile.done;

export async function showProfile(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  const { account } = user;
  const { now } = requestOf(ctx);
  login.views.show(ctx, 200, {
    page: 'account_profile',
    ...(await describeShell(login, ctx, user, 'profile')),
    done: doneText(ctx, PROFILE_DONE),
    emailLink: login.links.sendsMail ? login.views.path(EMAIL_PATH) : undefined,
    emailVerified: account.emailVerified,
    since: describeDay(account.createdAt),
    claims: claimsOf(account.profile),
    approvals: await approvalsOf(login, account.accountId, now),
    seenBy: await seenBy(login, user, now),
    applicationsLink: sectionPath(login, 'applications'),
  });
}

function claimsOf(profile: SessionUser['account']['profile']): ProfilePage['claims'] {
  return Object.entries(TEXTS.account.profile.claims).flatMap(([claim, label]) => {
    const value = profile[claim as keyof typeof profile];
    if (typeof value === 'string') return [{ label, value }];
    if (typeof value !== 'object') return [];
    return [{ label, value: value.formatted ?? Object.values(value).join(', ') }];
  });
}

async function approvalsOf(login: LoginContext, accountId: string, now: Date): Promise<ProfilePage['approvals']> {
  const waiting = await login.approvals.waiting(accountId, now);
  return Promise.all(
    waiting.map(async ({ id, clientId, bindingMessage, expiresAt }) => ({
      link: approvalPath(login, id),
      name: await nameOf(login, clientId),
      bindingMessage,
      expiresAt: describeMoment(expiresAt),
    })),
  );
}

async function seenBy(login: LoginContext, { account }: SessionUser, now: Date): Promise<ProfilePage['seenBy']> {
  const applications = await applicationsOf(login, account, now);
  return applications.flatMap(({ name, permissions }) => {
    const scopes = permissions.flatMap((api) => api.scopes).map((scope) => scope.name);
    const what = TEXTS.account.profile.scopes;
    const seen = Object.entries(what).filter(([scope]) => REVEALING.has(scope) && scopes.includes(scope));
    return seen.length === 0 ? [] : [{ name, what: seen.map(([, words]) => words) }];
  });
}
