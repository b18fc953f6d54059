/** Protected resource metadata (RFC 9728): the document in which an API names its authorization server. */
import { z } from 'zod';
import type { Resource } from './resource.ts';

/** How the API handles DPoP (RFC 9449). This server knows its own algorithms, but not what the API checks. */
export const DpopAtResource = z.enum(['none', 'supported', 'required'], 'must be none, supported or required');
export type DpopAtResource = z.output<typeof DpopAtResource>;

export const ProtectedResourceMetadata = z
  .strictObject({
    resource: z.string(),
    authorization_servers: z.array(z.string()),
    scopes_supported: z.array(z.string()),
    bearer_methods_supported: z.array(z.string()),
    dpop_signing_alg_values_supported: z.array(z.string()).optional(),
    dpop_bound_access_tokens_required: z.boolean().optional(),
  })
  .meta({ id: 'ProtectedResourceMetadata' });
export type ProtectedResourceMetadata = z.output<typeof ProtectedResourceMetadata>;

export interface MetadataOf {
  readonly issuer: string;
  readonly dpop: DpopAtResource;
  readonly dpopAlgs: readonly string[];
}

/** Returns the document that the API publishes at its well-known URL. */
export function protectedResourceMetadata(
  { identifier, scopes }: Pick<Resource, 'identifier' | 'scopes'>,
  { issuer, dpop, dpopAlgs }: MetadataOf,
): ProtectedResourceMetadata {
  return {
    resource: identifier,
    authorization_servers: [issuer],
    scopes_supported: scopes.map(({ name }) => name),
    bearer_methods_supported: ['header'],
    ...(dpop !== 'none' && { dpop_signing_alg_values_supported: [...dpopAlgs] }),
    ...(dpop === 'required' && { dpop_bound_access_tokens_required: true }),
  };
}

/**
 * Returns the URL of the document, with the well-known path before the identifier's path (RFC 9728, 3.1); `undefined`
 * unless the identifier is an https or http URL.
 */
export function metadataUrl(identifier: string): string | undefined {
  const url = URL.parse(identifier);
  if (!url || !/^https?:$/.test(url.protocol)) return undefined;
  const path = url.pathname === '/' ? '' : url.pathname;
  return `${url.origin}/.well-known/oauth-protected-resource${path}${url.search}`;
}
