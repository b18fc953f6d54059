/**
 * What a session remembers of its browser, so that its person recognizes it: the user agent and the address at the login
 * and about once an hour of use. It is saved with writes of the session that happen in any case.
 */
import { Provider, type AdapterPayload } from 'oidc-provider';
import { epochSeconds } from '../../base/clock.ts';
import { requestOf } from '../../http/request_context.ts';

/** The member `device` of a stored session. */
export interface SessionDevice {
  readonly user_agent: string;
  readonly address: string;
  /** In seconds since 1970. */
  readonly used_at: number;
}

const USER_AGENT_LIMIT = 400;
const RENEWED_AFTER_SECONDS = 3_600;

/** Returns the member that this request saves: a new one after a login or an hour, or else the one before. */
export function deviceOf(
  before: AdapterPayload | undefined,
  after: AdapterPayload,
  now: Date,
): SessionDevice | undefined {
  const known = before?.['device'] as SessionDevice | undefined;
  const ctx = Provider.ctx;
  if (!ctx || after.accountId === undefined) return known;
  const isLogin = before?.loginTs !== after.loginTs || before?.accountId !== after.accountId;
  if (known && !isLogin && known.used_at > epochSeconds(now) - RENEWED_AFTER_SECONDS) return known;
  return {
    user_agent: ctx.get('user-agent').slice(0, USER_AGENT_LIMIT),
    address: requestOf(ctx).address,
    used_at: epochSeconds(now),
  };
}
