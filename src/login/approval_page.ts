/**
 * What an application asks somebody who is not there (CIBA): who asks for what, with the words that the application shows
 * them too, and whether they approve. Only the person it is for sees the page; for everybody else there is none.
 */
import type { Context } from 'koa';
import { errors } from 'oidc-provider';
import { z } from 'zod';
import type { Approval } from '../accounts/approval.ts';
import { notFound } from '../base/refusal.ts';
import { requestOf } from '../http/request_context.ts';
import { addScopes } from './consent_step.ts';
import type { NoticePage } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { findApplication, originOf, type LoginContext } from './dependencies.ts';
import { findSessionUser, formToken, readFormFrom, type SessionUser } from './session_user.ts';
import { describeAccess, describeMoment } from './messages.ts';

const DecisionForm = z.object({ form_token: z.string(), decision: z.enum(['approve', 'deny', 'confirm']) });

/** What a name looks like; for anything else nobody has to log in. */
const NAME = /^[\w-]{43}$/;

export function approvalPath({ views }: LoginContext, id: string): string {
  return views.path(`/approve/${id}`);
}

/** After a decision the same address says what became of it. */
export async function showApproval(room: LoginContext, ctx: Context, id: string): Promise<void> {
  if (!NAME.test(id)) throw noSuchRequest();
  const visitor = await findSessionUser(room, ctx);
  if (!visitor) return room.logIn(ctx, approvalPath(room, id), await room.provider().Session.get(ctx));
  const approval = await findApproval(room, ctx, visitor, id);
  const application = await findApplication(room, approval.clientId);
  if (!application) throw noSuchRequest();
  if (approval.status !== 'waiting') return room.views.show(ctx, 200, endings[approval.status](application.name));
  const { openid, resources } = approval.scopes;
  const asked = { openid, resources: Object.keys(resources), withoutSession: true };
  const lifetime = await room.accessLifetimeOf(approval.clientId, asked);
  room.views.show(ctx, 200, {
    page: 'approval',
    application,
    action: approvalPath(room, id),
    formToken: tokenFor(visitor, approval),
    email: visitor.account.email,
    bindingMessage: approval.bindingMessage,
    asked: describePermissions(room, approval.scopes),
    askedAt: describeMoment(approval.askedAt),
    expiresAt: describeMoment(approval.expiresAt),
    address: approval.address,
    access: lifetime && describeAccess(lifetime),
    confirmsFirst: !loggedInSince(visitor, approval),
  });
}

export async function decideApproval(room: LoginContext, ctx: Context, id: string): Promise<void> {
  if (!NAME.test(id)) throw noSuchRequest();
  const visitor = await findSessionUser(room, ctx);
  if (!visitor) return room.logIn(ctx, approvalPath(room, id), await room.provider().Session.get(ctx));
  const approval = await findApproval(room, ctx, visitor, id);
  const { decision } = await readFormFrom(ctx, DecisionForm, tokenFor(visitor, approval));
  if (decision === 'deny') await deny(room, ctx, approval);
  // one that was on the screen for long is asked for the password first, too
  else if (decision === 'confirm' || !loggedInSince(visitor, approval)) {
    return room.logIn(ctx, approvalPath(room, id), visitor.session);
  } else await approve(room, ctx, visitor, approval).catch(asGone);
  ctx.status = 303;
  ctx.redirect(approvalPath(room, id));
}

/** A grant of its own, with what the page showed. Where the request was decided meanwhile, nothing is left of it. */
async function approve(room: LoginContext, ctx: Context, { session }: SessionUser, approval: Approval): Promise<void> {
  const { Grant } = room.provider();
  const grant = new Grant({ accountId: approval.accountId, clientId: approval.clientId });
  addScopes(grant, approval.scopes);
  const login = { authTime: session.loginTs!, acr: session.acr, amr: session.amr };
  const approving = room.changeTogether(ctx, originOf(ctx, approval.accountId), async (changes) => {
    const grantId = await grant.save();
    changes.add(async (change) => {
      if (!(await room.approvals.approve(change, approval, grantId, login))) throw new DecidedMeanwhile();
    });
  });
  await approving.catch((error: unknown) => {
    if (!(error instanceof DecidedMeanwhile)) throw error;
  });
}

async function deny(room: LoginContext, ctx: Context, approval: Approval): Promise<void> {
  await room.changeTogether(ctx, originOf(ctx, approval.accountId), async (changes) => {
    changes.add(async (change) => {
      await room.approvals.deny(change, approval);
    });
  });
}

class DecidedMeanwhile extends Error {}

async function findApproval(room: LoginContext, ctx: Context, { account }: SessionUser, id: string): Promise<Approval> {
  const approval = await room.approvals.find(account.accountId, id, requestOf(ctx).now);
  if (!approval) throw noSuchRequest();
  return approval;
}

/** One sentence for a request that never was, that is long over, and that is somebody else's. */
function noSuchRequest(): Error {
  return notFound(
    'There is no such request for you. It may be over, or for another account than the one you use here.',
  );
}

/** The client was revoked, or the account disabled, while the person was deciding. */
function asGone(error: unknown): never {
  throw error instanceof errors.InvalidGrant ? noSuchRequest() : error;
}

function loggedInSince({ session }: SessionUser, { loginSince }: Approval): boolean {
  return (session.loginTs ?? 0) >= loginSince;
}

/** What is approved is what was on the page, whatever the application has been given or lost meanwhile. */
function tokenFor({ session }: SessionUser, { id, scopes }: Approval): string {
  return formToken(session, `the page for the request ${id} ${JSON.stringify(scopes)}`);
}

const endings: Readonly<Record<Exclude<Approval['status'], 'waiting'>, (application: string) => NoticePage>> = {
  approved: (application) => ({
    page: 'notice',
    heading: 'You have approved the request',
    sentences: [
      `${application} goes on by itself in a moment. You can close this window.`,
      'You can take the access back at any time on your account page.',
    ],
  }),
  denied: (application) => ({
    page: 'notice',
    heading: 'You have denied the request',
    sentences: [`${application} gets no access. You can close this window.`],
  }),
  expired: () => ({
    page: 'notice',
    heading: 'This request can’t be decided any more',
    sentences: ['It has expired, and nothing was allowed. If it was yours, start again at the application.'],
  }),
};
