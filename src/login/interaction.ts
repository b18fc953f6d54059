/** One stop of an authorization request on its way: what oidc-provider wants from the person, and the way back to it. */
import type { Context } from 'koa';
import { errors, type InteractionResults, type Provider } from 'oidc-provider';
import type { AuditEvent, Origin } from '../audit/events.ts';
import type { Application } from './pages.ts';
import { findApplication, type LoginContext, type PageChanges } from './dependencies.ts';

export type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>;

export interface Step {
  readonly interaction: Interaction;
  /** `undefined` where somebody logs in for a page of our own. */
  readonly clientId: string | undefined;
  readonly application: Application;
}

const OWN_PAGES: Application = { name: 'your account' };

/** The step that this browser's cookie is for. Refuses an address that was opened in another browser, or too late. */
export async function openStep(room: LoginContext, ctx: Context, uid: string): Promise<Step> {
  const interaction = await room.provider().interactionDetails(ctx.req, ctx.res);
  if (interaction.uid !== uid) throw new errors.SessionNotFound('the cookie is for another interaction');
  if (isOwnPages(interaction)) return { interaction, clientId: undefined, application: OWN_PAGES };
  const clientId = String(interaction.params.client_id);
  const application = await findApplication(room, clientId);
  if (!application) throw new errors.SessionNotFound('the client is gone');
  return { interaction, clientId, application };
}

/** There is no application that would have to be told anything. */
export function isOwnPages({ prompt }: Interaction): boolean {
  return 'page' in prompt.details;
}

/** Where a step is found, and where its forms go. */
export function stepPath({ views }: LoginContext, uid: string, action?: 'login' | 'consent' | 'cancel'): string {
  return views.path(`/interaction/${uid}${action ? `/${action}` : ''}`);
}

/**
 * Hands the outcome to oidc-provider and sends the browser back to it. `decide` makes the outcome; what it changes and
 * records is committed together with it. 303: a form's fields must not travel on.
 */
export async function resumeWith(
  room: LoginContext,
  ctx: Context,
  origin: Origin,
  decide: (changes: PageChanges) => Promise<InteractionResults>,
): Promise<void> {
  let back = '';
  await room.changeTogether(ctx, origin, async (changes) => {
    const result = await decide(changes);
    // a consent comes on top of the login before it; a login starts from nothing
    const mergeWithLastSubmission = 'consent' in result;
    back = await room.provider().interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission });
  });
  ctx.status = 303;
  ctx.redirect(back);
}

/** The person does not want to: the application is told (RFC 6749 §4.1.2.1). `event` says what they did not want. */
export function refuseRequest(room: LoginContext, ctx: Context, origin: Origin, event?: AuditEvent): Promise<void> {
  return resumeWith(room, ctx, origin, async (changes) => {
    if (event) changes.record(event);
    return { error: 'access_denied', error_description: 'the end-user denied the request' };
  });
}
