/**
 * The account centre: the pages where a person sees and changes what concerns their own account. Each section has a file
 * of its own here and a template views/account_*.eta; account_shell.ts has what they share.
 */
import type Router from '@koa/router';
import type { Context } from 'koa';
import type { LoginContext } from '../login_context.ts';
import { findSessionUser } from '../session_user.ts';
import { onSection, SECTIONS, sectionPath } from './account_shell.ts';
import { showActivity } from './activity_section.ts';
import { APPLICATIONS_DONE, showApplications, takeBackConsent } from './applications_section.ts';
import { deleteOwnAccount, downloadData, showData } from './data_section.ts';
import { DEVICES_DONE, endAllDevices, endDevice, endOtherDevices, showDevices } from './devices_section.ts';
import { EMAIL_PATH, showEmail, submitEmail } from './email_page.ts';
import { addFactorRoutes } from './factor_routes.ts';
import { changePassword, PASSWORD_PATH, showPassword } from './password_page.ts';
import { PROFILE_DONE, showProfile } from './profile_section.ts';
import { SECURITY_DONE, showSecurity } from './security_section.ts';

/** Adds the routes of the account centre. */
export function routeAccountCenter(router: Router, login: LoginContext): void {
  router.get(
    '/account',
    onSection(login, 'profile', (user, ctx) => showProfile(login, ctx, user), PROFILE_DONE),
  );
  router.get(
    '/account/security',
    onSection(login, 'security', (user, ctx) => showSecurity(login, ctx, user), SECURITY_DONE),
  );
  router.get(
    '/account/devices',
    onSection(login, 'devices', (user, ctx) => showDevices(login, ctx, user), DEVICES_DONE),
  );
  router.get(
    '/account/applications',
    onSection(login, 'applications', (user, ctx) => showApplications(login, ctx, user), APPLICATIONS_DONE),
  );
  router.get(
    '/account/activity',
    onSection(login, 'activity', (user, ctx) => showActivity(login, ctx, user)),
  );
  router.get(
    '/account/data',
    onSection(login, 'data', (user, ctx) => showData(login, ctx, user)),
  );
  router.get('/account/login', (ctx) => logInToAccount(login, ctx));

  router.get(PASSWORD_PATH, (ctx) => showPassword(login, ctx));
  router.post(PASSWORD_PATH, (ctx) => changePassword(login, ctx));
  if (login.links.sendsMail) {
    router.get(EMAIL_PATH, (ctx) => showEmail(login, ctx));
    router.post(EMAIL_PATH, (ctx) => submitEmail(login, ctx));
  }
  addFactorRoutes(router, login);

  const forms = [
    ['devices', 'end', endDevice],
    ['devices', 'end-others', endOtherDevices],
    ['devices', 'end-all', endAllDevices],
    ['applications', 'take-back', takeBackConsent],
    ['data', 'download', downloadData],
    ['data', 'delete', deleteOwnAccount],
  ] as const;
  for (const [section, action, submit] of forms) {
    router.post(`/account/${section}/${action}`, (ctx) => submit(login, ctx));
    // a browser asks again for the address of a form that it has sent
    router.get(`/account/${section}/${action}`, (ctx) => {
      ctx.status = 303;
      ctx.redirect(sectionPath(login, section));
    });
  }
}

/** Logs the person in and shows the section that the query names. */
async function logInToAccount(login: LoginContext, ctx: Context): Promise<void> {
  const section = SECTIONS.find((one) => one === ctx.query['section']) ?? 'profile';
  const page = sectionPath(login, section);
  if (!(await findSessionUser(login, ctx))) return login.logIn(ctx, page, await login.provider().Session.get(ctx));
  ctx.status = 303;
  ctx.redirect(page);
}
