/**
 * The pages where people log in, allow an application to act for them, and look after their own account. oidc-provider
 * sends a browser here for an interaction (bound to that browser by a cookie) and takes it back with the outcome.
 * All of it works without JavaScript; whatever changes something is a form that only our own pages can send.
 */
import Router from '@koa/router';
import type { Context, Middleware } from 'koa';
import { Views } from '../http/views.ts';
import { endAllOwnSessions, endOwnSession, logInToAccount, showAccount, takeBackConsent } from './account_page.ts';
import { decideApproval, showApproval } from './approval_page.ts';
import { decideConsent, showConsent } from './consent_step.ts';
import { showFrontPage, showLoginResult, tryLogin } from './front_page.ts';
import { openStep, refuseRequest, stepPath, type Step } from './interaction.ts';
import { showLogin, submitLogin } from './login_step.ts';
import type { Page } from './pages.ts';
import { originOf, type LoginDependencies, type LoginContext } from './dependencies.ts';
import { demandSameOrigin } from './same_origin.ts';
import { showErrors } from './error_page.ts';

export { createProviderPages } from './provider_pages.ts';

type Handler = (room: LoginContext, ctx: Context, step: Step) => Promise<void>;

/** What can be asked of a person, by the name that oidc-provider gives it. */
const STEPS: Readonly<Record<string, Handler>> = { login: showLogin, consent: showConsent };

/** Serves /, /interaction, /account, /approve, /try-login and /assets, paths as they are below the issuer's; the rest is left to what comes next. */
export function createLogin(dependencies: LoginDependencies): Middleware {
  const room: LoginContext = { ...dependencies, views: new Views<Page>(dependencies.issuer) };
  const router = new Router();
  router.use(showErrors(room));
  router.use(async (ctx, next) => {
    if (ctx.method === 'POST') demandSameOrigin(ctx, room.issuer);
    await next();
  });

  router.get('/interaction/:uid', onStep(room, showStep));
  router.post('/interaction/:uid/login', onStep(room, only('login', submitLogin)));
  router.post('/interaction/:uid/consent', onStep(room, only('consent', decideConsent)));
  router.post('/interaction/:uid/cancel', onStep(room, only('login', cancel)));

  router.get('/', (ctx) => showFrontPage(room, ctx));
  if (room.demo) {
    router.get('/try-login', (ctx) => tryLogin(room, ctx));
    router.get('/try-login/callback', (ctx) => showLoginResult(room, ctx));
  }

  router.get('/account', (ctx) => showAccount(room, ctx));
  router.get('/account/login', (ctx) => logInToAccount(room, ctx));
  router.post('/account/sessions/end', (ctx) => endOwnSession(room, ctx));
  router.post('/account/sessions/end-all', (ctx) => endAllOwnSessions(room, ctx));
  router.post('/account/applications/take-back', (ctx) => takeBackConsent(room, ctx));

  router.get('/approve/:id', (ctx) => showApproval(room, ctx, String(ctx.params.id)));
  router.post('/approve/:id', (ctx) => decideApproval(room, ctx, String(ctx.params.id)));

  // the page is the library's; where its forms come from is looked at here
  router.post('/device', (_ctx, next) => next());

  router.get('/assets/:file', (ctx, next) => (room.views.sendAsset(ctx, String(ctx.params.file)) ? undefined : next()));
  return router.routes() as Middleware;
}

function onStep(room: LoginContext, handler: Handler) {
  return async (ctx: Context & { params: Record<string, string> }): Promise<void> => {
    await handler(room, ctx, await openStep(room, ctx, String(ctx.params.uid)));
  };
}

async function showStep(room: LoginContext, ctx: Context, step: Step): Promise<void> {
  const show = STEPS[step.interaction.prompt.name];
  if (!show) throw new Error(`There is no page for the prompt '${step.interaction.prompt.name}'.`);
  await show(room, ctx, step);
}

function cancel(room: LoginContext, ctx: Context): Promise<void> {
  return refuseRequest(room, ctx, originOf(ctx));
}

/** A form that comes late, such as one from the browser's history, is answered with the page of the step at hand. */
function only(prompt: string, handler: Handler): Handler {
  return async (room, ctx, step) => {
    const { uid, prompt: wanted } = step.interaction;
    if (wanted.name === prompt) return handler(room, ctx, step);
    ctx.status = 303;
    ctx.redirect(stepPath(room, uid));
  };
}
