/** Protected resource metadata (RFC 9728) of this server's own endpoints, and its address in their challenges. */
import type { Middleware } from 'koa';
import { DPOP_ALGS } from '../../base/signing_algs.ts';
import {
  metadataUrl,
  protectedResourceMetadata,
  type DpopAtResource,
} from '../../resources/protected_resource_metadata.ts';
import type { Scope } from '../../resources/resource.ts';
import { ROUTES } from '../request/routes.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';
const MAX_AGE_SECONDS = 3_600;

/** A path below the issuer, the scopes of its tokens, and whether it supports DPoP. */
export interface ProtectedEndpoint {
  readonly path: string;
  readonly scopes: readonly Scope[];
  readonly dpop: DpopAtResource;
}

/** Serves the metadata of the endpoints, and adds its URL to each of their challenges (RFC 9728, 5.1). */
export function describeProtectedResources(
  { issuer, seesCertificates }: { readonly issuer: string; readonly seesCertificates: boolean },
  endpoints: readonly ProtectedEndpoint[],
): Middleware {
  const documents = new Map(
    endpoints.map(({ path, scopes, dpop }) => [
      WELL_KNOWN + path,
      {
        ...protectedResourceMetadata({ identifier: issuer + path, scopes }, { issuer, dpop, dpopAlgs: DPOP_ALGS }),
        ...(seesCertificates && { tls_client_certificate_bound_access_tokens: true }),
      },
    ]),
  );
  return async (ctx, next) => {
    const document = documents.get(ctx.path);
    if (document && (ctx.method === 'GET' || ctx.method === 'HEAD')) {
      ctx.set({ 'Access-Control-Allow-Origin': '*', 'Cache-Control': `public, max-age=${MAX_AGE_SECONDS}` });
      ctx.body = document;
      return;
    }
    await next();
    const challenges = [ctx.response.get('WWW-Authenticate') as string | string[]].flat().filter(Boolean);
    const endpoint = endpoints.find(({ path }) => ctx.path === path || ctx.path.startsWith(`${path}/`));
    if (challenges.length === 0 || !endpoint) return;
    const url = metadataUrl(issuer + endpoint.path)!;
    ctx.set(
      'WWW-Authenticate',
      challenges.map((challenge) => `${challenge}, resource_metadata="${url}"`),
    );
  };
}

/** The userinfo endpoint, with the scopes for which OpenID Connect defines claims. */
export const USERINFO: ProtectedEndpoint = {
  path: ROUTES.userinfo,
  scopes: ['openid', 'profile', 'email'].map((name) => ({ name, description: name })),
  dpop: 'supported',
};
