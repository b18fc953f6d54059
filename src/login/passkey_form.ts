/** The form that sends a passkey's answer: the script of passkeys.js asks the browser for it. */
import type { Context } from 'koa';
import type { Passkey } from '../factors/passkey_rows.ts';
import { requestOf } from '../http/request_context.ts';
import { stepPath } from './interaction.ts';
import type { LoginContext } from './login_context.ts';
import type { Page, PasskeyRequest } from './pages.ts';

/** The file in views/. */
const SCRIPT = 'passkeys.js';

/** What a challenge of a login is bound to. */
export function loginBinding(uid: string): string {
  return `login ${uid}`;
}

/** `undefined` if this server offers no passkeys. Without `among`, the person chooses among all of their passkeys. */
export function passkeyRequest(
  login: LoginContext,
  ctx: Context,
  uid: string,
  among?: readonly Passkey[],
): PasskeyRequest | undefined {
  const { passkeys } = login.factors;
  if (!passkeys) return undefined;
  return {
    rpId: passkeys.rpId,
    action: stepPath(login, uid, 'passkey'),
    options: JSON.stringify(passkeys.requestOptions(loginBinding(uid), requestOf(ctx).now, among)),
  };
}

/** Shows a page that may run the script of passkeys, if this server offers them, and the other scripts. */
export function showPasskeyPage(
  login: LoginContext,
  ctx: Context,
  status: number,
  page: Page,
  otherScripts: readonly string[] = [],
): void {
  login.views.show(ctx, status, page, [...(login.factors.passkeys ? [SCRIPT] : []), ...otherScripts]);
}
