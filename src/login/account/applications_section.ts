/** Applications with access to the account; the person can take it back. */
import type { Context } from 'koa';
import { z } from 'zod';
import type { Account } from '../../accounts/account.ts';
import { listConsents, mergeScopes, withdrawConsent } from '../../accounts/consents.ts';
import { listGrants } from '../../accounts/sessions.ts';
import { requestOf } from '../../http/request_context.ts';
import { findApplication, type LoginContext } from '../login_context.ts';
import { describeCount, describeDay } from '../messages.ts';
import { describePermissions } from '../permissions.ts';
import { readOwnForm, type SessionUser } from '../session_user.ts';
import { TEXTS } from '../texts/texts.ts';
import type { ApplicationsPage } from './account_pages.ts';
import { backTo, changeAccount, describeShell, doneText } from './account_shell.ts';
import { OwnId } from './own_id.ts';

const TakeBackForm = z.object({ form_token: z.string(), client_id: OwnId });

export const APPLICATIONS_DONE = { application: TEXTS.account.applications.done };

export async function showApplications(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  login.views.show(ctx, 200, {
    page: 'account_applications',
    ...(await describeShell(login, ctx, user, 'applications')),
    done: doneText(ctx, APPLICATIONS_DONE),
    applications: await applicationsOf(login, user.account, requestOf(ctx).now),
    takeBackAction: login.views.path('/account/applications/take-back'),
  });
}

export async function takeBackConsent(login: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(login, ctx, TakeBackForm);
  await changeAccount(login, ctx, accountId, (work) => withdrawConsent(work, accountId, form.client_id));
  backTo(login, ctx, 'applications', 'application');
}

/** Lists every application with access: by a remembered consent, or by a grant that lasts as long as its session. */
export async function applicationsOf(
  login: LoginContext,
  account: Account,
  now: Date,
): Promise<ApplicationsPage['applications']> {
  const consents = await listConsents(login.database, account.accountId);
  const grants = await listGrants(login.database, account.accountId, now);
  const clientIds = new Set([...consents, ...grants].map(({ clientId }) => clientId));
  return Promise.all(
    [...clientIds].map(async (clientId) => {
      const consent = consents.find((candidate) => candidate.clientId === clientId);
      const clientGrants = grants.filter((grant) => grant.clientId === clientId);
      const scopes = clientGrants
        .map(({ granted }) => granted)
        .reduce(mergeScopes, consent?.scopes ?? { openid: [], claims: [], resources: {} });
      const permissions = describePermissions(login, scopes, account);
      const count = permissions.flatMap((api) => api.scopes).length;
      const application = await findApplication(login, clientId);
      return {
        clientId,
        name: application?.name ?? clientId,
        firstParty: application?.firstParty ?? false,
        since: describeDay(earliest([consent?.givenAt, ...clientGrants.map(({ createdAt }) => createdAt)])),
        permissionCount: describeCount(TEXTS.account.applications.permissions, count),
        permissions,
      };
    }),
  );
}

function earliest(times: readonly (Date | undefined)[]): Date {
  return new Date(Math.min(...times.filter((time) => time !== undefined).map(Number)));
}
