/**
 * Types for internal modules of the library, which ships none. This module has the helpers of the library's own grants.
 */
declare module 'oidc-provider/lib/helpers/grants.js' {
  import type { KoaContextWithOIDC, Provider } from 'oidc-provider';

  export interface VerifiedProof {
    readonly thumbprint: string;
    readonly jti: string;
    readonly iat: number;
  }

  /** Resolves to `undefined` if the request has no proof; throws if the proof is invalid. */
  export function validateDpop(
    provider: Provider,
    ctx: KoaContextWithOIDC,
    accessToken?: string,
  ): Promise<VerifiedProof | undefined>;
  export function checkDpopReplay(
    provider: Provider,
    ctx: KoaContextWithOIDC,
    proof: VerifiedProof | undefined,
    clientId: string,
  ): Promise<void>;
  /** The certificate that the client's tokens must be bound to, if the client requires this. */
  export function checkMtlsCert(provider: Provider, ctx: KoaContextWithOIDC): unknown;
}

/** The store in which the library keeps the context of the current request (`Provider.ctx`). */
declare module 'oidc-provider/lib/helpers/als.js' {
  const als: { run<T>(ctx: object, work: () => T): T };
  export default als;
}

declare module 'oidc-provider/lib/shared/authorization_error_handler.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  /** Answers what `next` throws: with a redirect to the client where that is permitted, else with a page. */
  export default function authorizationErrorHandler(
    ctx: KoaContextWithOIDC,
    next: () => Promise<unknown>,
  ): Promise<void>;
}

declare module 'oidc-provider/lib/shared/error_handler.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  /** Returns the error handler of a route that emits `eventName` for each error. */
  export default function getErrorHandler(
    eventName: string | undefined,
  ): (ctx: KoaContextWithOIDC, next: () => Promise<unknown>) => Promise<void>;
}

/** What the library keeps about a provider. */
declare module 'oidc-provider/lib/helpers/weak_cache.js' {
  import type { KoaContextWithOIDC, Provider } from 'oidc-provider';

  type Respond = (ctx: KoaContextWithOIDC, redirectUri: string, out: AuthorizationResponse) => unknown;
  interface AuthorizationResponse {
    readonly error_description?: string;
  }

  export default function instance(provider: Provider): { readonly responseModes: Map<string, Respond> };
}

declare module 'oidc-provider/lib/actions/authorization/index.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  type Step = (ctx: KoaContextWithOIDC, next: () => Promise<unknown>) => unknown;

  /** The steps of an endpoint, in a list that the library makes once and gives to each provider. */
  export default function authorizationSteps(endpoint: string): Step[];
}

declare module 'oidc-provider/lib/actions/authorization/request_parameters.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  /** The names of the parameters that the endpoint of the request knows. */
  export function getAuthorizationParams(ctx: KoaContextWithOIDC): ReadonlySet<string>;
}
