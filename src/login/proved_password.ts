/**
 * What an interaction keeps between the two steps of a login: that a person gave the right password of an account. The
 * password itself is not kept; a digest of its hash says whether it was changed since.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { findAccount, type Account } from '../accounts/account.ts';
import { passwordDigest } from '../accounts/password_digest.ts';
import { epochSeconds } from '../base/clock.ts';
import { requestOf } from '../http/request_context.ts';
import type { Step } from './interaction.ts';
import { originOfLogin, type Interaction, type LoginContext } from './login_context.ts';

const LONGEST_SECONDS = 600;

const ProvedPassword = z.object({
  accountId: z.string(),
  passwordDigest: z.string(),
  remember: z.boolean(),
  /** In epoch seconds. */
  provedAt: z.number(),
});

export interface FirstStep {
  readonly account: Account;
  readonly remember: boolean;
}

/** Keeps in the interaction that the password of this account was right. */
export async function keepProvedPassword(
  login: LoginContext,
  ctx: Context,
  { interaction }: Step,
  { account, remember }: FirstStep,
): Promise<void> {
  const now = epochSeconds(requestOf(ctx).now);
  const { accountId } = account;
  const proved = { accountId, passwordDigest: passwordDigest(account), remember, provedAt: now };
  Object.assign(interaction.prompt.details, { proved_password: proved });
  await login.changeTogether(ctx, originOfLogin(ctx, accountId), async () => {
    await interaction.save(interaction.exp - now);
  });
}

/** Returns the first step of this login, unless it is missing, too old, or the account was changed since. */
export async function findFirstStep(
  { database }: LoginContext,
  { prompt }: Interaction,
  now: Date,
): Promise<FirstStep | undefined> {
  const proved = ProvedPassword.safeParse(prompt.details['proved_password']).data;
  if (!proved || proved.provedAt + LONGEST_SECONDS < epochSeconds(now)) return undefined;
  const account = await findAccount(database, proved.accountId);
  if (!account || account.disabledAt || passwordDigest(account) !== proved.passwordDigest) return undefined;
  return { account, remember: proved.remember };
}
