/** The helpers that the library's own grants are made with. It ships no types for them. */
declare module 'oidc-provider/lib/helpers/grants.js' {
  import type { KoaContextWithOIDC, Provider } from 'oidc-provider';

  export interface VerifiedProof {
    readonly thumbprint: string;
    readonly jti: string;
    readonly iat: number;
  }

  /** `undefined` where the request has no proof; throws where it has a bad one. */
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
  /** The certificate that the client's tokens must be bound to, if they must be to one. */
  export function checkMtlsCert(provider: Provider, ctx: KoaContextWithOIDC): unknown;
}

/** The store in which the library keeps the context of the request under way (`Provider.ctx`). */
declare module 'oidc-provider/lib/helpers/als.js' {
  const als: { run<T>(ctx: object, work: () => T): T };
  export default als;
}

declare module 'oidc-provider/lib/shared/authorization_error_handler.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  /** Answers what `next` throws: by a redirect to the client where that is allowed, else by a page. */
  export default function authorizationErrorHandler(
    ctx: KoaContextWithOIDC,
    next: () => Promise<unknown>,
  ): Promise<void>;
}

declare module 'oidc-provider/lib/shared/error_handler.js' {
  import type { KoaContextWithOIDC } from 'oidc-provider';

  /** The handler of a route that emits `eventName` for each refusal. */
  export default function getErrorHandler(
    eventName: string | undefined,
  ): (ctx: KoaContextWithOIDC, next: () => Promise<unknown>) => Promise<void>;
}
