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
