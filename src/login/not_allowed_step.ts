/**
 * The step of a person who may not use the application: it says whom to ask. The form leads back to the application,
 * which gets `access_denied`.
 */
import type { Context } from 'koa';
import { findAccount } from '../accounts/account.ts';
import { resumeWith, stepPath, type Step } from './interaction.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';

export async function showNotAllowed(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const { uid, session } = step.interaction;
  const account = session && (await findAccount(login.database, session.accountId));
  login.views.show(ctx, 403, {
    page: 'not_allowed',
    application: step.application,
    action: stepPath(login, uid, 'leave'),
    email: account?.email ?? '',
    contacts: step.application.contacts ?? [],
  });
}

/** Tells the application that the person may not use it. */
export function leaveNotAllowed(login: LoginContext, ctx: Context, { interaction }: Step): Promise<void> {
  return resumeWith(login, ctx, originOfLogin(ctx, interaction.session?.accountId), async () => ({
    error: 'access_denied',
    error_description: 'the end-user may not use this client',
  }));
}
