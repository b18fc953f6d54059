/** The page on which a person adds, renames and removes passkeys. Only adding one needs a script. */
import type { Context } from 'koa';
import { z } from 'zod';
import { isVisible } from '../../base/visible_text.ts';
import { conflict, notFound } from '../../base/refusal.ts';
import { removeFactor } from '../../factors/account_factors.ts';
import { userHandleOf, type PasskeyCeremonies } from '../../factors/passkey_ceremonies.ts';
import { addPasskey, renamePasskey } from '../../factors/passkey_rows.ts';
import { requestOf } from '../../http/request_context.ts';
import { nameDevice } from './device_name.ts';
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
import { fill, TEXTS } from '../texts/texts.ts';
import { showPasskeyPage } from '../passkey_form.ts';

const PAGE = '/account/passkeys';

const name = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .refine((text) => isVisible(text));
const passkey_id = z.string().regex(/^passkey_[0-9A-Za-z]{1,40}$/);
const AddForm = z.object({ form_token: z.string(), name, registration: z.string().min(1).max(14_000) });
const RenameForm = z.object({ form_token: z.string(), passkey_id, name });
const RemoveForm = z.object({ form_token: z.string(), passkey_id });

export async function showPasskeys(login: LoginContext, ctx: Context): Promise<void> {
  const passkeys = offered(login);
  const owner = await openFactorPage(login, ctx, PAGE);
  if (owner) await show(login, ctx, passkeys, owner, 200);
}

export async function addOwnPasskey(login: LoginContext, ctx: Context): Promise<void> {
  const passkeys = offered(login);
  const { form, owner } = await readFactorForm(login, ctx, AddForm, 'add');
  const { accountId } = owner.account;
  const verified = await passkeys.verifyRegistration(form.registration, boundTo(owner), requestOf(ctx).now);
  if (!verified) return show(login, ctx, passkeys, owner, 400, TEXTS.account.passkeys.notAdded);
  await changeFactor(login, ctx, owner, async (work) => {
    if (!(await verified.use(work))) throw conflict(TEXTS.account.passkeys.usedAnswer);
    await addPasskey(work, accountId, { ...verified.passkey, name: form.name }, owner.session.uid);
    return true;
  });
  backToFactorPage(login, ctx, PAGE, 'added');
}

export async function renameOwnPasskey(login: LoginContext, ctx: Context): Promise<void> {
  const { form, owner } = await readFactorForm(login, ctx, RenameForm, 'add');
  const isRenamed = await changeFactor(login, ctx, owner, (work) =>
    renamePasskey(work, owner.account.accountId, form.passkey_id, form.name),
  );
  if (!isRenamed) throw notFound(TEXTS.account.passkeys.gone);
  backToFactorPage(login, ctx, PAGE, 'renamed');
}

export async function removeOwnPasskey(login: LoginContext, ctx: Context): Promise<void> {
  const { form, owner } = await readFactorForm(login, ctx, RemoveForm, 'remove');
  await changeFactor(login, ctx, owner, (work) =>
    removeFactor(work, owner.account.accountId, form.passkey_id, owner.session.uid),
  );
  backToFactorPage(login, ctx, PAGE, 'removed');
}

async function show(
  login: LoginContext,
  ctx: Context,
  ceremonies: PasskeyCeremonies,
  owner: FactorOwner,
  status: number,
  problem?: string,
): Promise<void> {
  const { account, factors } = owner;
  const { passkeys } = factors;
  const options = ceremonies.creationOptions(boundTo(owner), requestOf(ctx).now, account, passkeys);
  showPasskeyPage(login, ctx, status, {
    ...(await factorPage(login, ctx, { page: PAGE, subpage: 'passkeys' }, owner)),
    page: 'account_passkeys',
    action: login.views.path(PAGE),
    renameAction: login.views.path(`${PAGE}/rename`),
    removeAction: login.views.path(`${PAGE}/remove`),
    passkeys: passkeys.map(({ passkeyId, name: itsName, createdAt, lastUsedAt, backedUp }) => ({
      passkeyId,
      name: itsName,
      since: describeMoment(createdAt),
      lastUsed: lastUsedAt ? describeMoment(lastUsedAt) : undefined,
      backedUp,
    })),
    suggestedName: nameDevice(ctx.get('User-Agent')).device,
    options: owner.mayAdd ? JSON.stringify(options) : undefined,
    signal: JSON.stringify({
      rpId: ceremonies.rpId,
      userId: userHandleOf(account.accountId),
      allAcceptedCredentialIds: passkeys.map(({ credentialId }) => credentialId),
    }),
    problem,
  });
}

function offered({ factors, issuer }: LoginContext): PasskeyCeremonies {
  if (factors.passkeys) return factors.passkeys;
  throw notFound(fill(TEXTS.account.passkeys.notOffered, { host: new URL(issuer).host }));
}

function boundTo({ account, session }: FactorOwner): string {
  return `new passkey ${account.accountId} ${session.uid}`;
}
