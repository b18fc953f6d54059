/**
 * The pages where people log in, give consent and manage their own account. oidc-provider redirects a browser here for
 * an interaction, which a cookie binds to that browser, and continues with its outcome. All pages work without
 * JavaScript. Every change is a form that only our own pages can send.
 */
import Router from '@koa/router';
import type { Context, Middleware } from 'koa';
import { PASSWORD_PATH } from './account/password_page.ts';
import { routeAccountCenter } from './account/account_center.ts';
import { chooseAccount, showAccountChoice } from './account_choice_step.ts';
import { decideApproval, showApproval } from './approval_page.ts';
import { decideConsent, showConsent } from './consent_step.ts';
import { showFrontPage, showLoginResult, tryLogin } from './front_page.ts';
import {
  FORGOTTEN_PASSWORD_PATH,
  showForgottenPassword,
  showResetSent,
  submitForgottenPassword,
} from './forgotten_password_page.ts';
import { openStep, refuseRequest, stepPath, type Step } from './interaction.ts';
import { leaveNotAllowed, showNotAllowed } from './not_allowed_step.ts';
import { LINK_PATH, showLink, submitLink, takeLinkValue } from './link_pages.ts';
import { ANOTHER_ACCOUNT, showLogin, submitLogin } from './login_step.ts';
import { MAILS_PATH, showMails } from './mails_page.ts';
import { submitPasskey } from './passkey_step.ts';
import { findFirstStep } from './proved_password.ts';
import { showSecondStep, submitSecondStep } from './second_step.ts';
import { requestOf } from '../http/request_context.ts';
import { originOfLogin, type LoginDependencies, type LoginContext } from './login_context.ts';
import { requireSameOrigin } from './csrf_check.ts';
import { showErrors } from './error_page.ts';
import { createViews } from './views.ts';

export { createProviderPages } from './provider_pages.ts';

type Handler = (login: LoginContext, ctx: Context, step: Step) => Promise<void>;

/** The steps, by the prompt name of oidc-provider. */
const STEPS: Readonly<Record<string, Handler>> = {
  login: orSecondStep(showLogin),
  select_account: orSecondStep(showAccountChoice),
  not_allowed: showNotAllowed,
  consent: orSecondStep(showConsent),
};

/** The prompts at which a person can log in; at the consent step they say ‘Not you?’ first. */
const LOGIN_PROMPTS = ['login', 'select_account', 'consent'];

/**
 * Serves /, /interaction, /account, /approve, /link, /forgot-password, /mails, /try-login and /assets below the issuer's
 * path; passes other paths to the next middleware.
 */
export function createLogin(dependencies: LoginDependencies): Middleware {
  const login: LoginContext = { ...dependencies, views: createViews(dependencies.issuer) };
  const router = new Router();
  router.use(showErrors(login));
  router.use(async (ctx, next) => {
    if (ctx.method === 'POST') requireSameOrigin(ctx, login.issuer);
    await next();
  });

  router.get('/interaction/:uid', onStep(login, showStep));
  router.post('/interaction/:uid/login', onStep(login, only(LOGIN_PROMPTS, submitLogin)));
  router.post('/interaction/:uid/second-step', onStep(login, only(LOGIN_PROMPTS, submitSecondStep)));
  router.post('/interaction/:uid/passkey', onStep(login, only(LOGIN_PROMPTS, submitPasskey)));
  router.post('/interaction/:uid/choose', onStep(login, only(['select_account'], chooseAccount)));
  router.post('/interaction/:uid/consent', onStep(login, only(['consent'], decideConsent)));
  router.post('/interaction/:uid/leave', onStep(login, only(['not_allowed'], leaveNotAllowed)));
  router.post('/interaction/:uid/cancel', onStep(login, only(LOGIN_PROMPTS, cancel)));
  for (const action of ['login', 'second-step', 'passkey', 'choose', 'consent', 'leave', 'cancel']) {
    router.get(`/interaction/:uid/${action}`, (ctx) => seeOther(ctx, stepPath(login, String(ctx.params.uid))));
  }

  router.get('/', (ctx) => showFrontPage(login, ctx));
  if (login.demo) {
    router.get('/try-login', (ctx) => tryLogin(login, ctx));
    router.get('/try-login/callback', (ctx) => showLoginResult(login, ctx));
  }

  routeAccountCenter(router, login);

  addCredentialRoutes(router, login);

  router.get('/approve/:id', (ctx) => showApproval(login, ctx, String(ctx.params.id)));
  router.post('/approve/:id', (ctx) => decideApproval(login, ctx, String(ctx.params.id)));

  // oidc-provider serves this page; the middleware above only checks the origin of its forms
  router.post('/device', (_ctx, next) => next());
  router.get('/logout/confirm', (ctx) => seeOther(ctx, login.views.path('/logout')));

  router.get('/assets/:file', (ctx, next) =>
    login.views.sendAsset(ctx, String(ctx.params.file)) ? undefined : next(),
  );
  return router.routes() as Middleware;
}

function addCredentialRoutes(router: Router, login: LoginContext): void {
  router.get('/.well-known/change-password', (ctx) => seeOther(ctx, login.views.path(PASSWORD_PATH)));
  router.get(LINK_PATH, (ctx) => showLink(login, ctx));
  router.post(LINK_PATH, (ctx) => submitLink(login, ctx));
  router.get(`${LINK_PATH}/:value`, (ctx) => takeLinkValue(login, ctx, String(ctx.params.value)));
  if (!login.links.sendsMail) return;
  router.get(FORGOTTEN_PASSWORD_PATH, (ctx) => showForgottenPassword(login, ctx));
  router.post(FORGOTTEN_PASSWORD_PATH, (ctx) => submitForgottenPassword(login, ctx));
  router.get(`${FORGOTTEN_PASSWORD_PATH}/sent`, (ctx) => showResetSent(login, ctx));
  if (login.developmentMails) router.get(MAILS_PATH, (ctx, next) => showMails(login, ctx, next));
}

function onStep(login: LoginContext, handler: Handler) {
  return async (ctx: Context & { params: Record<string, string> }): Promise<void> => {
    await handler(login, ctx, await openStep(login, ctx, String(ctx.params.uid)));
  };
}

async function showStep(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const show = STEPS[step.interaction.prompt.name];
  if (!show) throw new Error(`No page exists for the prompt '${step.interaction.prompt.name}'.`);
  await show(login, ctx, step);
}

/** Shows the second step if the person has passed the first one, else the given page. */
function orSecondStep(show: Handler): Handler {
  return async (login, ctx, step) => {
    const isOther = ctx.query['account'] === ANOTHER_ACCOUNT;
    const firstStep = isOther ? undefined : await findFirstStep(login, step.interaction, requestOf(ctx).now);
    await (firstStep ? showSecondStep(login, ctx, step, firstStep) : show(login, ctx, step));
  };
}

function cancel(login: LoginContext, ctx: Context): Promise<void> {
  return refuseRequest(login, ctx, originOfLogin(ctx));
}

/** Answers an outdated form, such as one from the browser's history, with the page of the current step. */
function only(prompts: readonly string[], handler: Handler): Handler {
  return async (login, ctx, step) => {
    const { uid, prompt: wanted } = step.interaction;
    if (prompts.includes(wanted.name)) return handler(login, ctx, step);
    seeOther(ctx, stepPath(login, uid));
  };
}

/**
 * A browser asks again for the address of a form that it has sent when its person presses Enter in the address bar, or
 * opens a tab that was put to sleep.
 */
function seeOther(ctx: Context, path: string): void {
  ctx.status = 303;
  ctx.redirect(path);
}
