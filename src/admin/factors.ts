/**
 * Routes for the factors of an account besides its password: list, reset one or all, and give the owner a code to add
 * one. One more route ends the limits that wrong logins have reached.
 */
import { z } from 'zod';
import { findAccount, lockAccount } from '../accounts/account.ts';
import { readFactors, removeFactor, resetFactors, type AccountFactors } from '../factors/account_factors.ts';
import { newRecoveryCode, storeEnrolmentCode } from '../factors/recovery_codes.ts';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT, type Reply } from '../http/route.ts';
import type { FactorWork } from '../factors/factor_changes.ts';
import { requireRightsOf } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf } from './cursors.ts';
import { AccountParams, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';

const FactorView = z
  .strictObject({
    factor_id: z.string().describe('`totp` and `recovery_codes` exist once for each account; passkeys have ids.'),
    type: z.enum(['totp', 'passkey', 'recovery_codes']),
    name: z.string().nullable().describe('The name that the owner gave to a passkey.'),
    backed_up: z.boolean().nullable().describe('Whether a passkey is copied to other devices of its owner.'),
    aaguid: z.string().nullable().describe('The model of the authenticator of a passkey, as it says itself.'),
    codes_left: z.int().nullable().describe('The number of unused recovery codes.'),
    created_at: Timestamp.nullable(),
    last_used_at: Timestamp.nullable(),
  })
  .meta({ id: 'Factor' });
type FactorView = z.output<typeof FactorView>;

const EnrolmentCode = z
  .strictObject({
    code: z.string().describe('Shown only in this response. The owner enters it after their password, once.'),
    expires_at: Timestamp,
  })
  .meta({ id: 'EnrolmentCode' });

const FactorParams = AccountParams.extend({
  factor_id: z.string().max(100).describe('`totp`, `recovery_codes`, or the id of a passkey.'),
});

export const factorRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/factors',
    scope: 'accounts:read',
    tag: 'factors',
    summary: 'List the factors of an account besides its password',
    description: 'An account has at most 22 factors, so there is one page. No secret is shown.',
    params: AccountParams,
    reply: { status: 200, description: 'The factors.', body: pageOf(FactorView) },
    refuses: [404],
    handle: ({ params }, call) => list(call, params.account_id),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/factors',
    scope: 'accounts:write',
    tag: 'factors',
    summary: 'Remove all factors of an account besides its password',
    description:
      'For a person who has lost them. All sessions of the account end, and the password alone logs in, also after the person has reported a factor as not theirs. If each login needs a second factor, give the person an enrolment code.',
    params: AccountParams,
    reply: { status: 204, description: 'The account has no factor besides its password.' },
    refuses: [404],
    handle: ({ params }, call) =>
      writeFactors(call, async (work) => {
        await lockAccount(work.tx, params.account_id);
        await requireRightsOf(call, work.tx, params.account_id);
        await resetFactors(work, params.account_id);
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/factors/{factor_id}',
    scope: 'accounts:write',
    tag: 'factors',
    summary: 'Remove one factor of an account',
    description: 'All sessions of the account end.',
    params: FactorParams,
    reply: { status: 204, description: 'The factor is removed.' },
    refuses: [404],
    handle: ({ params }, call) =>
      writeFactors(call, async (work) => {
        await lockAccount(work.tx, params.account_id);
        await requireRightsOf(call, work.tx, params.account_id);
        const removed = await removeFactor(work, params.account_id, params.factor_id, undefined);
        if (!removed) throw notFound('The account has no factor with this id.');
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'POST',
    path: '/accounts/{account_id}/enrolment-code',
    scope: 'accounts:write',
    tag: 'factors',
    summary: 'Make a code with which the owner of an account can add a factor',
    description:
      'The owner enters the code in the second step of a login to their account page, and then adds a factor. It satisfies no request of an application. It replaces an earlier one, works once, and expires after seven days.',
    params: AccountParams,
    reply: { status: 201, description: 'The code.', body: EnrolmentCode },
    refuses: [404],
    handle: ({ params }, call) => makeEnrolmentCode(call, params.account_id),
  }),
  adminRoute({
    method: 'POST',
    path: '/accounts/{account_id}/unlock',
    scope: 'accounts:write',
    tag: 'accounts',
    summary: 'End the limits that wrong attempts to log in to an account have reached',
    description: 'The owner need not wait any longer. Limits of networks stay.',
    params: AccountParams,
    reply: { status: 204, description: 'Attempts at the account are counted from zero.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const { accountId, email } = await lockAccount(work.tx, params.account_id);
        await requireRightsOf(call, work.tx, accountId);
        await call.dependencies.loginAttempts.unlock(work.tx, email, work.now);
        await work.trail.recordIn(work.tx, work.origin, { event: 'account.unlocked', outcome: 'success', accountId });
        return NO_CONTENT;
      }),
  }),
];

async function list(call: AdminCall, accountId: string): Promise<Reply<{ items: FactorView[] }>> {
  const { database } = call.dependencies;
  if (!(await findAccount(database, accountId))) throw notFound(`Account ${accountId} not found.`);
  // also passkeys that this server does not offer any more
  const factors = await readFactors(database, accountId, { passkeys: true, now: call.now });
  return { status: 200, body: { items: views(factors) } };
}

/** Makes a change that tells the owner of the account. */
async function writeFactors<T>(call: AdminCall, change: (work: FactorWork) => Promise<Reply<T>>): Promise<Reply<T>> {
  const notices = await call.dependencies.notices.open(call.now);
  return call.write((work) => change({ ...work, notices }));
}

async function makeEnrolmentCode(call: AdminCall, accountId: string): Promise<Reply<z.output<typeof EnrolmentCode>>> {
  const code = newRecoveryCode();
  const pepper = await call.dependencies.vault.current('pepper', call.now);
  return writeFactors(call, async (work) => {
    await lockAccount(work.tx, accountId);
    await requireRightsOf(call, work.tx, accountId);
    const expiresAt = await storeEnrolmentCode(work, accountId, code, pepper);
    return { status: 201, body: { code, expires_at: timestamp(expiresAt) } };
  });
}

const NOTHING = { name: null, backed_up: null, aaguid: null, codes_left: null, created_at: null, last_used_at: null };

function views({ totp, passkeys, recoveryCodes }: AccountFactors): FactorView[] {
  const ofApp = totp && {
    ...NOTHING,
    factor_id: 'totp',
    type: 'totp' as const,
    created_at: timestamp(totp.createdAt),
    last_used_at: timestampOrNull(totp.lastUsedAt),
  };
  const left = recoveryCodes.own + recoveryCodes.forEnrolment;
  const ofCodes = {
    ...NOTHING,
    factor_id: 'recovery_codes',
    type: 'recovery_codes' as const,
    codes_left: left,
    created_at: timestampOrNull(recoveryCodes.createdAt),
  };
  return [
    ...(ofApp ? [ofApp] : []),
    ...passkeys.map((passkey) => ({
      ...NOTHING,
      factor_id: passkey.passkeyId,
      type: 'passkey' as const,
      name: passkey.name,
      backed_up: passkey.backedUp,
      aaguid: passkey.aaguid,
      created_at: timestamp(passkey.createdAt),
      last_used_at: timestampOrNull(passkey.lastUsedAt),
    })),
    ...(left > 0 ? [ofCodes] : []),
  ];
}
