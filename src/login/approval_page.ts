/**
 * The approval page for backchannel authentication (CIBA): it shows which application requests what, and the binding
 * message, and the person approves or denies. Only the person whom the request is for sees it; for everyone else the
 * page does not exist.
 */
import type { Context } from 'koa';
import { errors } from 'oidc-provider';
import { z } from 'zod';
import { satisfies } from '../accounts/authentication_context.ts';
import type { Approval } from '../accounts/approval.ts';
import { notFound } from '../base/refusal.ts';
import { requestOf } from '../http/request_context.ts';
import { addScopes } from './consent_step.ts';
import { logoutLink } from './logout_link.ts';
import { onwardLink } from './onward_link.ts';
import { describePermissions } from './permissions.ts';
import { findApplication, originOfLogin, type LoginContext } from './login_context.ts';
import { findSessionUser, formToken, readFormFrom, type SessionUser } from './session_user.ts';
import { describeAccess, describeMoment } from './messages.ts';
import { noticeOf } from './notice.ts';
import { TEXTS } from './texts/texts.ts';

const DecisionForm = z.object({ form_token: z.string(), decision: z.enum(['approve', 'deny', 'confirm']) });

/** The form of a request id. For other ids the server asks no person to log in. */
const REQUEST_ID = /^[\w-]{43}$/;

export function approvalPath({ views }: LoginContext, id: string): string {
  return views.path(`/approve/${id}`);
}

/** Shows the request, or its outcome after a decision. */
export async function showApproval(login: LoginContext, ctx: Context, id: string): Promise<void> {
  if (!REQUEST_ID.test(id)) throw noSuchRequest();
  const user = await findSessionUser(login, ctx);
  if (!user) return login.logIn(ctx, approvalPath(login, id), await login.provider().Session.get(ctx));
  const approval = await findApproval(login, ctx, user, id);
  const application = await findApplication(login, approval.clientId);
  if (!application) throw noSuchRequest();
  if (approval.status !== 'waiting') {
    const tone = approval.status === 'approved' ? 'done' : 'info';
    const ending = noticeOf(TEXTS.approval[approval.status], { application: application.name });
    return login.views.show(ctx, 200, { ...ending, tone, link: onwardLink(login.views) });
  }
  const { openid, resources } = approval.scopes;
  const asked = { openid, resources: Object.keys(resources), withoutSession: true };
  const lifetime = await login.accessLifetimeOf(approval.clientId, asked);
  login.views.show(ctx, 200, {
    page: 'approval',
    application,
    action: approvalPath(login, id),
    formToken: tokenFor(user, approval),
    email: user.account.email,
    logoutLink: logoutLink(login),
    name: user.account.name,
    bindingMessage: approval.bindingMessage,
    asked: describePermissions(login, approval.scopes, user.account),
    askedAt: describeMoment(approval.askedAt),
    expiresAt: describeMoment(approval.expiresAt),
    address: approval.address,
    access: lifetime && describeAccess(lifetime),
    confirmsFirst: !loggedInSince(user, approval),
  });
}

export async function decideApproval(login: LoginContext, ctx: Context, id: string): Promise<void> {
  if (!REQUEST_ID.test(id)) throw noSuchRequest();
  const user = await findSessionUser(login, ctx);
  if (!user) return login.logIn(ctx, approvalPath(login, id), await login.provider().Session.get(ctx));
  const approval = await findApproval(login, ctx, user, id);
  const { decision } = await readFormFrom(ctx, DecisionForm, tokenFor(user, approval));
  if (decision === 'deny') await deny(login, ctx, approval);
  // if the page was open for too long, the person also logs in again before approving
  else if (decision === 'confirm' || !loggedInSince(user, approval)) {
    return login.logIn(ctx, approvalPath(login, id), user.session, { strongest: approval.requiredAcr !== undefined });
  } else await approve(login, ctx, user, approval).catch(asNoSuchRequest);
  ctx.status = 303;
  ctx.redirect(approvalPath(login, id));
}

/**
 * Approves with a new grant for exactly what the page showed. If the request was decided in the meantime, the grant is
 * not stored.
 */
async function approve(login: LoginContext, ctx: Context, { session }: SessionUser, approval: Approval): Promise<void> {
  const { Grant } = login.provider();
  const grant = new Grant({ accountId: approval.accountId, clientId: approval.clientId });
  addScopes(grant, approval.scopes);
  const approvingLogin = { authTime: session.loginTs!, acr: session.acr, amr: session.amr };
  const approving = login.changeTogether(ctx, originOfLogin(ctx, approval.accountId), async (changes) => {
    const grantId = await grant.save();
    changes.add(async (work) => {
      if (!(await login.approvals.approve(work, approval, grantId, approvingLogin))) throw new AlreadyDecided();
    });
  });
  await approving.catch((error: unknown) => {
    if (!(error instanceof AlreadyDecided)) throw error;
  });
}

async function deny(login: LoginContext, ctx: Context, approval: Approval): Promise<void> {
  await login.changeTogether(ctx, originOfLogin(ctx, approval.accountId), async (changes) => {
    changes.add(async (work) => {
      await login.approvals.deny(work, approval);
    });
  });
}

class AlreadyDecided extends Error {}

async function findApproval(
  login: LoginContext,
  ctx: Context,
  { account }: SessionUser,
  id: string,
): Promise<Approval> {
  const approval = await login.approvals.find(account.accountId, id, requestOf(ctx).now);
  if (!approval) throw noSuchRequest();
  return approval;
}

/** The same message for a request that never existed, has expired, or belongs to another person. */
function noSuchRequest(): Error {
  return notFound(TEXTS.approval.notFound);
}

/** oidc-provider throws `InvalidGrant` if the client was revoked or the account disabled before the decision. */
function asNoSuchRequest(error: unknown): never {
  throw error instanceof errors.InvalidGrant ? noSuchRequest() : error;
}

/** Whether the login is recent, and as strong as an admin requires for the application, the API or a group of the person. */
function loggedInSince({ session }: SessionUser, { loginSince, requiredAcr }: Approval): boolean {
  const isStrong = requiredAcr === undefined || satisfies(session.acr, requiredAcr);
  return isStrong && (session.loginTs ?? 0) >= loginSince;
}

/**
 * The form token covers the scopes on the page, so the person approves exactly those even if the client's rights
 * changed in the meantime.
 */
function tokenFor({ session }: SessionUser, { id, scopes }: Approval): string {
  return formToken(session, `the page for the request ${id} ${JSON.stringify(scopes)}`);
}
