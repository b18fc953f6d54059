/** The page on which a person sets up an authenticator app: a code of the app confirms it before it counts. */
import type { Context } from 'koa';
import { encode } from 'uqr';
import { z } from 'zod';
import { addSeconds } from '../../base/clock.ts';
import { addTotp, newTotpSecret, stepOfCode, totpUri } from '../../factors/totp.ts';
import { removeFactor } from '../../factors/account_factors.ts';
import { requestOf } from '../../http/request_context.ts';
import {
  backToFactorPage,
  changeFactor,
  factorPage,
  openFactorPage,
  readFactorForm,
  type FactorOwner,
} from './factor_owner.ts';
import type { LoginContext } from '../login_context.ts';
import { describeMoment } from '../messages.ts';
import { TEXTS } from '../texts/texts.ts';
import type { AuthenticatorPage } from './account_pages.ts';

const PAGE = '/account/authenticator';
const ENROLMENT_SECONDS = 900;

const ConfirmForm = z.object({
  form_token: z.string(),
  enrolment: z.string().max(1_000),
  code: z
    .string()
    .max(40)
    .transform((typed) => typed.replaceAll(/\s/g, '')),
});
const RemoveForm = z.object({ form_token: z.string() });

export async function showAuthenticator(login: LoginContext, ctx: Context): Promise<void> {
  const owner = await openFactorPage(login, ctx, PAGE);
  if (owner) await show(login, ctx, owner, 200, {});
}

export async function confirmAuthenticator(login: LoginContext, ctx: Context): Promise<void> {
  const { form, owner } = await readFactorForm(login, ctx, ConfirmForm, 'add');
  const { now } = requestOf(ctx);
  const secret = await openEnrolment(login, owner, form.enrolment, now);
  if (secret === undefined) return show(login, ctx, owner, 400, { problem: TEXTS.account.authenticator.tooOld });
  const step = stepOfCode(secret, form.code, now);
  if (step === undefined)
    return show(login, ctx, owner, 400, { problem: TEXTS.account.authenticator.wrongCode, secret });
  const key = await login.factors.vault.current('totp', now);
  await changeFactor(login, ctx, owner, async (work) => {
    await addTotp(work, owner.account.accountId, { secret, step, key }, owner.session.uid);
    return true;
  });
  backToFactorPage(login, ctx, PAGE, 'added');
}

export async function removeAuthenticator(login: LoginContext, ctx: Context): Promise<void> {
  const { owner } = await readFactorForm(login, ctx, RemoveForm, 'remove');
  await changeFactor(login, ctx, owner, (work) =>
    removeFactor(work, owner.account.accountId, 'totp', owner.session.uid),
  );
  backToFactorPage(login, ctx, PAGE, 'removed');
}

async function show(
  login: LoginContext,
  ctx: Context,
  owner: FactorOwner,
  status: number,
  { problem, secret = newTotpSecret() }: { readonly problem?: string; readonly secret?: string },
): Promise<void> {
  const { totp } = owner.factors;
  login.views.show(ctx, status, {
    ...(await factorPage(login, ctx, { page: PAGE, subpage: 'authenticator' }, owner)),
    page: 'account_authenticator',
    action: login.views.path(PAGE),
    removeAction: login.views.path(`${PAGE}/remove`),
    current: totp && {
      since: describeMoment(totp.createdAt),
      lastUsed: totp.lastUsedAt ? describeMoment(totp.lastUsedAt) : undefined,
    },
    enrolment: owner.mayAdd ? await enrolmentOf(login, ctx, owner, secret) : undefined,
    problem,
  });
}

async function enrolmentOf(
  login: LoginContext,
  ctx: Context,
  owner: FactorOwner,
  secret: string,
): Promise<AuthenticatorPage['enrolment']> {
  const { now } = requestOf(ctx);
  const uri = totpUri(secret, { issuer: new URL(login.issuer).host, label: owner.account.email });
  const { data, size } = encode(uri, { ecc: 'M', border: 4 });
  return {
    sealed: await sealEnrolment(login, owner, secret, now),
    secret: secret.replaceAll(/(.{4})(?!$)/g, '$1 '),
    qrPath: data.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : []))).join(''),
    qrSize: size,
  };
}

/** The form carries the secret of a new app sealed, so that showing the page stores nothing. */
async function sealEnrolment(login: LoginContext, owner: FactorOwner, secret: string, now: Date): Promise<string> {
  const key = await login.factors.vault.current('totp', now);
  const content = JSON.stringify({ secret, until: addSeconds(now, ENROLMENT_SECONDS).getTime() });
  return `${key.id}.${key.seal(Buffer.from(content), boundTo(owner)).toString('base64url')}`;
}

const Enrolment = z.object({ secret: z.string(), until: z.number() });

async function openEnrolment(
  login: LoginContext,
  owner: FactorOwner,
  sealed: string,
  now: Date,
): Promise<string | undefined> {
  const key = await login.factors.vault.current('totp', now);
  const [keyId, box = ''] = sealed.split('.');
  if (keyId !== key.id) return undefined;
  try {
    const content = key.open(Buffer.from(box, 'base64url'), boundTo(owner)).toString();
    const { secret, until } = Enrolment.parse(JSON.parse(content));
    return until > now.getTime() ? secret : undefined;
  } catch {
    return undefined;
  }
}

function boundTo({ account, session }: FactorOwner): string {
  return `enrolment of an authenticator app ${account.accountId} ${session.uid}`;
}
