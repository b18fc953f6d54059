/** The routes of the pages on which a person changes factors. A GET of a form's address leads to its page. */
import type Router from '@koa/router';
import type { Context } from 'koa';
import { confirmAuthenticator, removeAuthenticator, showAuthenticator } from './authenticator_page.ts';
import type { LoginContext } from '../login_context.ts';
import { addOwnPasskey, removeOwnPasskey, renameOwnPasskey, showPasskeys } from './passkeys_page.ts';
import { makeRecoveryCodes, showRecoveryCodes } from './recovery_codes_page.ts';
import { forgetOwnDevice, showRememberedDevices } from './remembered_devices_page.ts';

type Show = (login: LoginContext, ctx: Context) => Promise<void>;

interface FactorPage {
  readonly path: string;
  readonly show: Show;
  /** The forms of the page, by the end of their paths. */
  readonly forms: Readonly<Record<string, Show>>;
}

const PAGES: readonly FactorPage[] = [
  {
    path: '/account/authenticator',
    show: showAuthenticator,
    forms: { '': confirmAuthenticator, '/remove': removeAuthenticator },
  },
  {
    path: '/account/passkeys',
    show: showPasskeys,
    forms: { '': addOwnPasskey, '/rename': renameOwnPasskey, '/remove': removeOwnPasskey },
  },
  { path: '/account/recovery-codes', show: showRecoveryCodes, forms: { '': makeRecoveryCodes } },
  { path: '/account/remembered-devices', show: showRememberedDevices, forms: { '/forget': forgetOwnDevice } },
];

export function addFactorRoutes(router: Router, login: LoginContext): void {
  for (const { path, show, forms } of PAGES) {
    router.get(path, (ctx) => show(login, ctx));
    for (const [end, submit] of Object.entries(forms)) {
      router.post(path + end, (ctx) => submit(login, ctx));
      if (end === '') continue;
      router.get(path + end, (ctx) => {
        ctx.status = 303;
        ctx.redirect(login.views.path(path));
      });
    }
  }
}
