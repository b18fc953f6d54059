/** The pages of the device flow (RFC 8628): the person enters the code, confirms the device, and sees the outcome. */
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { Views } from '../http/views.ts';
import { onwardLink } from './onward_link.ts';
import type { Application, NoticePage, Page } from './pages.ts';
import { describePermissions } from './permissions.ts';
import type { ConsentedScopes } from '../accounts/consents.ts';
import type { LoginContext } from './login_context.ts';
import { describeAccess, describeWait } from './messages.ts';

export interface DevicePages {
  enterCode(ctx: KoaContextWithOIDC, form: DeviceForm, problem: CodeProblem | undefined): void;
  confirmCode(
    ctx: KoaContextWithOIDC,
    form: DeviceForm & { confirmation: string; scopes: ConsentedScopes },
  ): Promise<void>;
  deviceDone(ctx: KoaContextWithOIDC, outcome: 'connected' | 'denied' | 'over'): void;
}

interface DevicePagesSettings extends Pick<LoginContext, 'describeScopes' | 'accessLifetimeOf'> {
  readonly applicationOf: (ctx: KoaContextWithOIDC) => Promise<Application | undefined>;
}

interface DeviceForm {
  readonly action: string;
  readonly xsrf: string;
  readonly code: string;
}

type CodeProblem =
  | { readonly reason: 'missing' | 'wrong' | 'stale' }
  | { readonly reason: 'throttled'; readonly retryAfterSeconds: number };

export function createDevicePages(
  views: Views<Page>,
  { describeScopes, accessLifetimeOf, applicationOf }: DevicePagesSettings,
): DevicePages {
  return {
    enterCode: (ctx, { action, xsrf, code }, problem) => {
      if (problem?.reason === 'throttled') ctx.set('Retry-After', String(problem.retryAfterSeconds));
      const sentence = problem && sentenceOf(problem);
      views.show(ctx, problem ? statusOf(problem) : 200, { page: 'device', action, xsrf, code, problem: sentence });
    },
    confirmCode: async (ctx, { action, xsrf, code, confirmation, scopes }) => {
      const { openid, resources } = scopes;
      const clientId = ctx.oidc.client?.clientId ?? '';
      const lifetime = await accessLifetimeOf(clientId, { openid, resources: Object.keys(resources) });
      views.show(ctx, 200, {
        page: 'device_confirm',
        application: (await applicationOf(ctx)) ?? { name: nameOf(ctx) },
        action,
        xsrf,
        code,
        confirmation,
        asked: describePermissions({ describeScopes }, scopes),
        access: lifetime && describeAccess(lifetime),
      });
    },
    deviceDone: (ctx, outcome) => {
      const link = outcome === 'over' ? { text: 'Enter another code', href: views.path('/device') } : onwardLink(views);
      views.show(ctx, outcome === 'over' ? 400 : 200, { ...endings[outcome](nameOf(ctx)), link });
    },
  };
}

function nameOf({ oidc: { client } }: KoaContextWithOIDC): string {
  return client?.clientName ?? client?.clientId ?? 'the application';
}

function statusOf({ reason }: CodeProblem): number {
  return reason === 'throttled' ? 429 : 400;
}

/** The same message for an unknown, used or expired code, so that the page reveals nothing to a guesser. */
function sentenceOf(problem: CodeProblem): string {
  switch (problem.reason) {
    case 'missing':
      return 'Enter the code that your device shows.';
    case 'wrong':
      return 'No device waits with this code. Check it; if it is right, it has expired or was used: get a new one on your device.';
    case 'stale':
      return 'The page was out of date, so nothing was done. Enter the code again.';
    case 'throttled':
      return `There were too many tries with codes. Wait ${describeWait(problem.retryAfterSeconds)}, then try again.`;
  }
}

const endings: Readonly<Record<'connected' | 'denied' | 'over', (application: string) => NoticePage>> = {
  connected: (application) => ({
    page: 'notice',
    heading: 'Your device is connected',
    sentences: [
      `${application} goes on by itself in a moment. You can close this window.`,
      'You can take the access back at any time on your account page.',
    ],
  }),
  denied: () => ({
    page: 'notice',
    heading: 'The device was not connected',
    sentences: ['It gets no access. You can close this window.'],
  }),
  over: () => ({
    page: 'notice',
    heading: 'This code can’t be used any more',
    sentences: ['It has expired, or it was used in another window. Get a new code on your device and start again.'],
  }),
};
