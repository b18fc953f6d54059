/**
 * The account choice (`prompt=select_account`): the person goes on with the account that is logged in, without a
 * password, or logs in with another one.
 */
import type { Context } from 'koa';
import { findAccount } from '../accounts/account.ts';
import { resumeWith, stepPath, type Step } from './interaction.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { ANOTHER_ACCOUNT, showLogin } from './login_step.ts';

export async function showAccountChoice(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const { interaction, application } = step;
  const { uid, session } = interaction;
  const account = session && (await findAccount(login.database, session.accountId));
  if (!account || ctx.query.account === ANOTHER_ACCOUNT) return showLogin(login, ctx, step);
  login.views.show(ctx, 200, {
    page: 'account_choice',
    application,
    action: stepPath(login, uid, 'choose'),
    cancelAction: stepPath(login, uid, 'cancel'),
    email: account.email,
    name: account.name,
    otherAccountLink: `${stepPath(login, uid)}?account=${ANOTHER_ACCOUNT}`,
  });
}

/** Goes on with the account of the session. */
export function chooseAccount(login: LoginContext, ctx: Context, { interaction }: Step): Promise<void> {
  const origin = originOfLogin(ctx, interaction.session?.accountId);
  return resumeWith(login, ctx, origin, async () => ({ select_account: {} }));
}
