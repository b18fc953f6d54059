/** Protected resource metadata (RFC 9728): the document by which an API says who issues tokens for it. */
import { z } from 'zod';
import type { Resource } from './resource.ts';

/** How an API takes DPoP: what this server binds tokens with (RFC 9449) is known here, what an API checks is not. */
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

/** The document for an API to host at its well-known place. */
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

/** Where the document is found: the name goes before the identifier's path (RFC 9728, 3.1). `undefined` for what is no https or http URL. */
export function metadataUrl(identifier: string): string | undefined {
  const url = URL.parse(identifier);
  if (!url || !/^https?:$/.test(url.protocol)) return undefined;
  const path = url.pathname === '/' ? '' : url.pathname;
  return `${url.origin}/.well-known/oauth-protected-resource${path}${url.search}`;
}
