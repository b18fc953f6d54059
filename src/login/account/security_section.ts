/**
 * How the person proves who they are. Each way to log in brings a panel of its own: a template in views/ and a function
 * that gives its data. The page shows the panels in the order in which they are registered.
 */
import type { Context } from 'koa';
import { requestOf } from '../../http/request_context.ts';
import type { LoginContext } from '../login_context.ts';
import { describeCount } from '../messages.ts';
import type { SessionUser } from '../session_user.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import { describeShell, doneText, sectionPath } from './account_shell.ts';
import { devicesOf } from './devices_section.ts';
import { factorPanels } from './factor_panels.ts';
import { PASSWORD_PATH } from './password_page.ts';
import type { SecurityPanel } from './security_panel.ts';

export const SECURITY_DONE: Readonly<Record<string, string>> = TEXTS.account.security.done;

export async function showSecurity(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  const { account, session } = user;
  const { now } = requestOf(ctx);
  const panels = [passwordPanel(login), ...factorPanels(login), devicesPanel(login)];
  const factors = await login.factors.read(account.accountId, now);
  const viewer = { account, factors, sessionId: session.uid, now };
  const all = panels.map(async ({ template, describe }) => {
    const content = await describe(viewer);
    return content && { template, ...content };
  });
  const described = (await Promise.all(all)).filter((panel) => panel !== undefined);
  login.views.show(ctx, 200, {
    page: 'account_security',
    ...(await describeShell(login, ctx, user, 'security')),
    done: doneText(ctx, SECURITY_DONE),
    panels: described,
    advice: described.flatMap(({ advice }) => advice ?? []),
  });
}

function passwordPanel({ views }: LoginContext): SecurityPanel {
  return {
    template: 'panel_password',
    describe: async ({ account }) => ({
      data: { link: views.path(PASSWORD_PATH), isSet: account.passwordHash !== null },
    }),
  };
}

function devicesPanel(login: LoginContext): SecurityPanel {
  return {
    template: 'panel_devices',
    async describe({ account, sessionId, now }) {
      const texts = TEXTS.account.security;
      const devices = await devicesOf(login, account.accountId, sessionId, now);
      const here = devices.find(({ current }) => current);
      const summary = [
        describeCount(texts.devices, devices.length),
        ...(here ? [fill(texts.thisOne, { device: here.device })] : []),
      ].join(' ');
      return {
        data: {
          summary,
          hasOthers: devices.length > 1,
          devicesLink: sectionPath(login, 'devices'),
          endOthersAction: login.views.path('/account/devices/end-others'),
        },
      };
    },
  };
}
