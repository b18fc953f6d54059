/** The pages of the device flow (RFC 8628) besides the consent: the person enters the code, and sees the outcome. */
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { Views } from '../http/views.ts';
import { noticeOf } from './notice.ts';
import { onwardLink } from './onward_link.ts';
import type { Page } from './pages.ts';
import { describeWait } from './messages.ts';
import { fill, TEXTS } from './texts/texts.ts';

export interface DevicePages {
  enterCode(ctx: KoaContextWithOIDC, form: DeviceForm, problem: CodeProblem | undefined): void;
  deviceDone(ctx: KoaContextWithOIDC, outcome: 'connected' | 'denied' | 'over'): void;
}

interface DeviceForm {
  readonly action: string;
  readonly xsrf: string;
  readonly code: string;
}

type CodeProblem =
  | { readonly reason: 'missing' | 'wrong' | 'stale' }
  | { readonly reason: 'throttled'; readonly retryAfterSeconds: number };

export function createDevicePages(views: Views<Page>): DevicePages {
  return {
    enterCode: (ctx, { action, xsrf, code }, problem) => {
      if (problem?.reason === 'throttled') ctx.set('Retry-After', String(problem.retryAfterSeconds));
      const sentence = problem && sentenceOf(problem);
      views.show(ctx, problem ? statusOf(problem) : 200, { page: 'device', action, xsrf, code, problem: sentence });
    },
    deviceDone: (ctx, outcome) => {
      const isOver = outcome === 'over';
      const link = isOver ? { text: TEXTS.device.anotherCode, href: views.path('/device') } : onwardLink(views);
      const tone = outcome === 'connected' ? 'done' : 'info';
      const notice = noticeOf(TEXTS.device[outcome], { application: nameOf(ctx) });
      views.show(ctx, isOver ? 400 : 200, { ...notice, tone, link });
    },
  };
}

function nameOf({ oidc: { client } }: KoaContextWithOIDC): string {
  return client?.clientName ?? client?.clientId ?? TEXTS.theApplication;
}

function statusOf({ reason }: CodeProblem): number {
  return reason === 'throttled' ? 429 : 400;
}

/** The same message for an unknown, used or expired code, so that the page reveals nothing to a guesser. */
function sentenceOf(problem: CodeProblem): string {
  if (problem.reason !== 'throttled') return TEXTS.device[problem.reason];
  return fill(TEXTS.device.throttled, { wait: describeWait(problem.retryAfterSeconds) });
}
