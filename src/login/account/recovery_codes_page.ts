/** The page on which a person makes recovery codes. It shows them once. */
import type { Context } from 'koa';
import { z } from 'zod';
import { conflict } from '../../base/refusal.ts';
import { hasSecondFactor } from '../../factors/account_factors.ts';
import { newRecoveryCodes, replaceRecoveryCodes } from '../../factors/recovery_codes.ts';
import { requestOf } from '../../http/request_context.ts';
import { changeFactor, factorPage, openFactorPage, readFactorForm, type FactorOwner } from './factor_owner.ts';
import type { LoginContext } from '../login_context.ts';
import { describeCount } from '../messages.ts';
import { TEXTS } from '../texts/texts.ts';

const PAGE = '/account/recovery-codes';

const MakeForm = z.object({ form_token: z.string() });

export async function showRecoveryCodes(login: LoginContext, ctx: Context): Promise<void> {
  const owner = await openFactorPage(login, ctx, PAGE);
  if (owner) await show(login, ctx, owner, undefined);
}

/** Answers with the codes, without a redirect: they are stored only as digests. */
export async function makeRecoveryCodes(login: LoginContext, ctx: Context): Promise<void> {
  // not by a login with a recovery code: a thief of one code would get ten
  const { owner } = await readFactorForm(login, ctx, MakeForm, 'remove');
  if (!hasSecondFactor(owner.factors)) throw conflict(TEXTS.account.recoveryCodes.noFactor);
  const codes = newRecoveryCodes();
  const pepper = await login.factors.vault.current('pepper', requestOf(ctx).now);
  await changeFactor(login, ctx, owner, async (work) => {
    await replaceRecoveryCodes(work, owner.account.accountId, codes, { pepper, session: owner.session.uid });
    return true;
  });
  await show(login, ctx, owner, codes);
}

async function show(
  login: LoginContext,
  ctx: Context,
  owner: FactorOwner,
  codes: readonly string[] | undefined,
): Promise<void> {
  const left = codes?.length ?? owner.factors.recoveryCodes.own;
  login.views.show(ctx, 200, {
    ...(await factorPage(login, ctx, { page: PAGE, subpage: 'recoveryCodes' }, owner)),
    page: 'account_recovery_codes',
    action: login.views.path(PAGE),
    hasFactor: hasSecondFactor(owner.factors),
    hasCodes: left > 0,
    left: describeCount(TEXTS.account.recoveryCodes.left, left),
    codes,
  });
}
