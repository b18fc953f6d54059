/** The person's data: a copy to take along, and the end of the account. */
import type { Context } from 'koa';
import { z } from 'zod';
import { deleteAccount, lockAccount } from '../../accounts/account.ts';
import { canonicalEmail, EMAIL_LIMIT } from '../../base/email_address.ts';
import { requestOf } from '../../http/request_context.ts';
import type { LoginContext } from '../login_context.ts';
import { noticeOf } from '../notice.ts';
import { readOwnForm, type SessionUser } from '../session_user.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import { changeAccount, describeShell, sectionPath } from './account_shell.ts';
import { copyOfData } from './data_copy.ts';
import { isFreshLogin } from './fresh_login.ts';

/** A login that is older must be confirmed before the account is deleted. */
const FRESH_SECONDS = 300;

const DownloadForm = z.object({ form_token: z.string() });
const DeleteForm = z.object({
  form_token: z.string(),
  decision: z.enum(['confirm', 'delete']),
  email: z.string().max(EMAIL_LIMIT).optional(),
});

export function showData(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  return show(login, ctx, user);
}

interface Refusal {
  readonly status: 400 | 409;
  readonly problem: string;
  readonly isAddressWrong: boolean;
}

async function show(login: LoginContext, ctx: Context, user: SessionUser, refusal?: Refusal): Promise<void> {
  login.views.show(ctx, refusal?.status ?? 200, {
    page: 'account_data',
    ...(await describeShell(login, ctx, user, 'data')),
    problem: refusal?.problem,
    isAddressWrong: refusal?.isAddressWrong ?? false,
    downloadAction: login.views.path('/account/data/download'),
    deleteAction: login.views.path('/account/data/delete'),
    confirmsFirst: !(await isFreshLogin(login, user, requestOf(ctx).now, FRESH_SECONDS)),
  });
}

export async function downloadData(login: LoginContext, ctx: Context): Promise<void> {
  const user = await readOwnForm(login, ctx, DownloadForm);
  const { now } = requestOf(ctx);
  const copy = await copyOfData(login, user, now);
  await changeAccount(login, ctx, user.accountId, ({ tx, trail, origin }) =>
    trail.recordIn(tx, origin, {
      event: 'account.data_downloaded',
      outcome: 'success',
      accountId: user.accountId,
    }),
  );
  ctx.set({
    'Cache-Control': 'no-store',
    'Content-Disposition': `attachment; filename="account-${now.toISOString().slice(0, 10)}.json"`,
    'X-Content-Type-Options': 'nosniff',
  });
  ctx.type = 'json';
  ctx.body = `${JSON.stringify(copy, null, 2)}\n`;
}

/**
 * Deletes the account, after a recent login and with its address typed. A person who alone has a right to administer the
 * server gives it to somebody else first.
 */
export async function deleteOwnAccount(login: LoginContext, ctx: Context): Promise<void> {
  const user = await readOwnForm(login, ctx, DeleteForm);
  const { decision, email } = user.form;
  if (decision === 'confirm' || !(await isFreshLogin(login, user, requestOf(ctx).now, FRESH_SECONDS))) {
    return login.logIn(ctx, sectionPath(login, 'data'), user.session, { strongest: true });
  }
  if (canonicalEmail(email ?? '') !== user.account.email) {
    return show(login, ctx, user, { status: 400, problem: TEXTS.account.data.wrongAddress, isAddressWrong: true });
  }
  const soleScopes = await changeAccount(login, ctx, user.accountId, async (work) => {
    const account = await lockAccount(work.tx, user.accountId);
    const scopes = await login.soleAdminScopes(work.tx, user.accountId);
    if (scopes.length === 0) await deleteAccount(work, account);
    return scopes;
  });
  if (soleScopes.length > 0) {
    const problem = fill(TEXTS.account.data.onlyAdmin, { scopes: soleScopes.join(', ') });
    return show(login, ctx, user, { status: 409, problem, isAddressWrong: false });
  }
  login.views.show(ctx, 200, {
    ...noticeOf(TEXTS.account.data.deleted),
    tone: 'done',
    link: { text: TEXTS.account.data.front, href: login.views.path('/') },
  });
}
