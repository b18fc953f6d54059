/**
 * In development: what a refused request sent, beside what is registered for its client. Parameters that can be secret,
 * such as a hint or a signed request, are never shown.
 */
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { Compared } from './pages.ts';

/** How much of a value the page shows. */
const LENGTH = 2_000;

export function compareWithClient(ctx: KoaContextWithOIDC): readonly Compared[] {
  // a request that is refused before the library has read it
  if (!('oidc' in ctx)) return [];
  const { client, params } = ctx.oidc;
  if (!client) return params?.['client_id'] === undefined ? [] : [compared('client_id', params['client_id'], [])];
  const all: readonly (readonly [name: string, registered: readonly string[] | undefined])[] = [
    ['redirect_uri', client.redirectUris],
    ['post_logout_redirect_uri', client.postLogoutRedirectUris],
    ['response_type', client.responseTypes],
    ['scope', client.scope?.split(' ')],
  ];
  return all
    .filter(([name, registered]) => params?.[name] !== undefined && registered !== undefined)
    .map(([name, registered = []]) => compared(name, params?.[name], registered))
    .filter(({ sent, registered }) => !isRegistered(sent, registered));
}

function compared(name: string, sent: unknown, registered: readonly string[]): Compared {
  return {
    name,
    sent: typeof sent === 'string' ? sent.slice(0, LENGTH) : JSON.stringify(sent)?.slice(0, LENGTH),
    registered,
  };
}

function isRegistered(sent: string | undefined, registered: readonly string[]): boolean {
  return sent !== undefined && (registered.includes(sent) || sent.split(' ').every((one) => registered.includes(one)));
}
