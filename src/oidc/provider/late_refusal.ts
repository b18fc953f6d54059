/**
 * Refusals that are found only at commit: another request was faster, or what the answer depends on was deleted during
 * the request. The library's error handler of the route answers them, as it does its own.
 */
import type { KoaContextWithOIDC, errors } from 'oidc-provider';
import { authorizationErrorHandler, errorHandler, requestStore } from './library_internals.ts';
import { sessionOf } from './library_types.ts';

/** The event that the library emits for an error, by route. */
const EVENTS: Readonly<Record<string, string>> = {
  token: 'grant.error',
  userinfo: 'userinfo.error',
  introspection: 'introspection.error',
  revocation: 'revocation.error',
  pushed_authorization_request: 'pushed_authorization_request.error',
  device_authorization: 'device_authorization.error',
  backchannel_authentication: 'backchannel_authentication.error',
  code_verification: 'code_verification.error',
  device_resume: 'device_resume.error',
  end_session: 'end_session.error',
  end_session_confirm: 'end_session_confirm.error',
};
const AUTHORIZATION_ROUTES = new Set(['authorization', 'resume']);

/** Replaces the answer with the library's answer to `refusal`. */
export async function answerRefusal(ctx: KoaContextWithOIDC, refusal: errors.OIDCProviderError): Promise<void> {
  const { route } = ctx.oidc;
  ctx.remove('Location');
  ctx.body = undefined;
  const fail = (): Promise<never> => Promise.reject(refusal);
  const handler = AUTHORIZATION_ROUTES.has(route) ? authorizationErrorHandler : errorHandler(EVENTS[route]);
  await requestStore.run(ctx, async () => {
    await handler(ctx, fail);
    await saveForm(ctx);
  });
}

/** A page with a form to try again has put a new anti-forgery token into the session. */
async function saveForm({ oidc }: KoaContextWithOIDC): Promise<void> {
  const session = sessionOf(oidc);
  if (session?.touched && !session.destroyed && !session.oldId && session.exp !== undefined) await session.persist();
}
