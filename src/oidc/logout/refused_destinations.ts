/**
 * Logout requests that name an address to which the server does not redirect: the client has not registered it, or the
 * request does not say which client asks (RP-Initiated Logout, 2 and 3). The library answers the first with an error,
 * and the person would stay logged in. Here the person decides about the logout as always, and a page says that it does
 * not lead to that address.
 */
import { Provider, type Configuration, type KoaContextWithOIDC } from 'oidc-provider';
import { internalsOf, oidcContextOf } from '../provider/library_types.ts';

/** `isDestinationRefused` is true if the request named an address to which the server does not redirect. */
export interface LogoutPages {
  /** Asks whether to log out. `form` has the values that go with the answer. */
  logoutSource(ctx: KoaContextWithOIDC, form: string, isDestinationRefused: boolean): Promise<void>;
  /** The page after a logout. */
  postLogoutSuccessSource(ctx: KoaContextWithOIDC, isDestinationRefused: boolean): Promise<void>;
}

type Feature = NonNullable<NonNullable<Configuration['features']>['rpInitiatedLogout']>;

/** The library's configuration of RP-initiated logout. */
export function rpInitiatedLogout(pages: LogoutPages): Feature {
  return {
    enabled: true,
    logoutSource: (ctx, form) => pages.logoutSource(ctx, form, isDestinationRefused(ctx)),
    postLogoutSuccessSource: (ctx) => pages.postLogoutSuccessSource(ctx, false),
  };
}

/** Adjusts the library's clients and adds a middleware; call it for each new provider. */
export function ignoreRefusedDestinations(provider: Provider, pages: LogoutPages): void {
  const { prototype } = internalsOf(provider).Client;
  const { postLogoutRedirectUriAllowed } = prototype;
  prototype.postLogoutRedirectUriAllowed = function (uri) {
    // the library goes on with the parameter that is then absent
    if (!postLogoutRedirectUriAllowed.call(this, uri)) delete Provider.ctx?.oidc.params?.['post_logout_redirect_uri'];
    return true;
  };
  provider.use(async (ctx, next) => {
    await next();
    if (!('oidc' in ctx)) return;
    const context = oidcContextOf(ctx);
    if (context.oidc.route === 'end_session') await sayWhereNoPersonIsAsked(context, pages);
    if (context.oidc.route === 'end_session_confirm') nameClient(context);
  });
}

function isDestinationRefused({ oidc, query }: KoaContextWithOIDC): boolean {
  return query['post_logout_redirect_uri'] !== undefined && oidc.params?.['post_logout_redirect_uri'] === undefined;
}

/** Without a session there is no logout to decide about, and the page after it comes at once. */
async function sayWhereNoPersonIsAsked(ctx: KoaContextWithOIDC, pages: LogoutPages): Promise<void> {
  const isAnswered = ctx.status === 200 && ctx.oidc.session?.accountId === undefined;
  if (isAnswered && isDestinationRefused(ctx)) await pages.postLogoutSuccessSource(ctx, true);
}

/** The page after a logout gets the client, so that it can lead to the application. */
function nameClient(ctx: KoaContextWithOIDC): void {
  const { client } = ctx.oidc;
  const success = ctx.oidc.urlFor('end_session_success');
  if (!client || ctx.response.get('Location') !== success) return;
  ctx.redirect(`${success}?${new URLSearchParams({ client_id: client.clientId })}`);
}
