import type { LoginContext } from './login_context.ts';

/** Where a person ends their session: the page there asks first. */
export function logoutLink(login: LoginContext): string {
  return login.provider().pathFor('end_session', { mountPath: login.views.path('') });
}
