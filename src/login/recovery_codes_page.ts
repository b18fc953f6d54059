/** The page on which a person makes recovery codes. It shows them once. */
import type { Context } from 'koa';
import { z } from 'zod';
import { conflict } from '../base/refusal.ts';
import { hasSecondFactor } from '../factors/account_factors.ts';
import { newRecoveryCodes, replaceRecoveryCodes } from '../factors/recovery_codes.ts';
import { requestOf } from '../http/request_context.ts';
import { changeFactor, factorPage, openFactorPage, readFactorForm, type FactorOwner } from './factor_owner.ts';
import type { LoginContext } from './login_context.ts';

const PAGE = '/account/recovery-codes';

const NO_FACTOR = 'Recovery codes replace a second factor, and you have none yet. Add one first.';

const MakeForm = z.object({ form_token: z.string() });

export async function showRecoveryCodes(login: LoginContext, ctx: Context): Promise<void> {
  const owner = await openFactorPage(login, ctx, PAGE);
  if (owner) show(login, ctx, owner, undefined);
}

/** Answers with the codes, without a redirect: they are stored only as digests. */
export async function makeRecoveryCodes(login: LoginContext, ctx: Context): Promise<void> {
  // not by a login with a recovery code: a thief of one code would get ten
  const { owner } = await readFactorForm(login, ctx, MakeForm, 'remove');
  if (!hasSecondFactor(owner.factors)) throw conflict(NO_FACTOR);
  const codes = newRecoveryCodes();
  const pepper = await login.factors.vault.current('pepper', requestOf(ctx).now);
  await changeFactor(login, ctx, owner, async (work) => {
    await replaceRecoveryCodes(work, owner.account.accountId, codes, pepper);
    return true;
  });
  show(login, ctx, owner, codes);
}

function show(login: LoginContext, ctx: Context, owner: FactorOwner, codes: readonly string[] | undefined): void {
  login.views.show(ctx, 200, {
    ...factorPage(login, ctx, PAGE, owner),
    page: 'recovery_codes',
    action: login.views.path(PAGE),
    hasFactor: hasSecondFactor(owner.factors),
    left: codes?.length ?? owner.factors.recoveryCodes.own,
    codes,
  });
}
