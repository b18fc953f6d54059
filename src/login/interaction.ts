/**
 * One step of an authorization request at the login pages: what oidc-provider needs from the person, and how the
 * browser returns to it.
 */
import type { Context } from 'koa';
import { errors, type InteractionResults } from 'oidc-provider';
import type { AuditEvent, Origin } from '../audit/events.ts';
import type { Application } from './pages.ts';
import { ApplicationRemoved } from './error_page.ts';
import { TEXTS } from './texts/texts.ts';
import { findApplication, type Interaction, type LoginContext, type PageChanges } from './login_context.ts';

export interface Step {
  readonly interaction: Interaction;
  /** `undefined` if the person logs in for one of our own pages. */
  readonly clientId: string | undefined;
  readonly application: Application;
}

const OWN_PAGES: Application = { name: TEXTS.ownPages };

/**
 * Returns the step of this browser's interaction cookie. Refuses a URL that was opened in another browser or too late.
 */
export async function openStep(login: LoginContext, ctx: Context, uid: string): Promise<Step> {
  const interaction = await login.provider().interactionDetails(ctx.req, ctx.res);
  if (interaction.uid !== uid) throw new errors.SessionNotFound('the cookie is for another interaction');
  if (isOwnPages(interaction)) return { interaction, clientId: undefined, application: OWN_PAGES };
  const clientId = String(interaction.params.client_id);
  const application = await findApplication(login, clientId);
  if (!application) throw new ApplicationRemoved('The client of this interaction is not registered any more.');
  return { interaction, clientId, application };
}

/** Whether the login is for one of our own pages, so that no application expects a response. */
export function isOwnPages({ prompt }: Interaction): boolean {
  return 'page' in prompt.details;
}

/** Returns the path of a step, or of one of its forms. */
export function stepPath(
  { views }: LoginContext,
  uid: string,
  action?: 'login' | 'second-step' | 'passkey' | 'choose' | 'consent' | 'leave' | 'cancel',
): string {
  return views.path(`/interaction/${encodeURIComponent(uid)}${action ? `/${action}` : ''}`);
}

/**
 * Passes the outcome to oidc-provider and redirects the browser to it. `decide` returns the outcome; its changes and
 * events commit in the same transaction. Status 303, so that the browser does not repeat the form's fields.
 */
export async function resumeWith(
  login: LoginContext,
  ctx: Context,
  origin: Origin,
  decide: (changes: PageChanges) => Promise<InteractionResults>,
): Promise<void> {
  let back = '';
  await login.changeTogether(ctx, origin, async (changes) => {
    const result = await decide(changes);
    // a consent adds to the login before it; a login starts without earlier results
    const mergeWithLastSubmission = 'consent' in result;
    back = await login.provider().interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission });
  });
  ctx.status = 303;
  ctx.redirect(back);
}

/**
 * Ends the request because the person denied it; the application gets `access_denied` (RFC 6749, 4.1.2.1). `event`
 * records what the person denied.
 */
export function refuseRequest(login: LoginContext, ctx: Context, origin: Origin, event?: AuditEvent): Promise<void> {
  return resumeWith(login, ctx, origin, async (changes) => {
    if (event) changes.record(event);
    return { error: 'access_denied', error_description: 'the end-user denied the request' };
  });
}
