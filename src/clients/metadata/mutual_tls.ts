/** How a client proves itself with a certificate, and binds its tokens to one (RFC 8705). */
import { isIP } from 'node:net';
import { z } from 'zod';
import { canonicalName } from '../../base/distinguished_name.ts';
import type { Check } from './check.ts';
import type { tokens } from './tokens.ts';

/** A host name in full: no wildcard, and no dot in front, which would stand for everything below it. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;

export const mutualTls = {
  tls_client_auth_subject_dn: z
    .string()
    .max(1_000, 'must not be longer than 1000 characters')
    .refine(
      (name) => canonicalName(name) !== undefined,
      'must be a distinguished name as in RFC 4514, such as CN=payments,O=Example Bank,C=DE',
    )
    .optional()
    .describe('The subject of the certificate of a client with tls_client_auth (RFC 4514, the last part of it first).'),
  tls_client_auth_san_dns: z.string().regex(HOST_NAME, 'must be a host name without wildcard').optional(),
  tls_client_auth_san_uri: z
    .string()
    .max(2_000, 'must not be longer than 2000 characters')
    .refine((uri) => /^[\x21-\x7e]+$/.test(uri) && URL.canParse(uri), 'must be an absolute URI')
    .optional(),
  tls_client_auth_san_ip: z
    .string()
    .refine((address) => isIP(address) !== 0 && !address.includes('%'), 'must be an IPv4 or IPv6 address')
    .optional(),
  tls_client_auth_san_email: z.email('must be an e-mail address').max(254).optional(),
  tls_client_certificate_bound_access_tokens: z
    .boolean()
    .optional()
    .describe('Whether every token of the client is bound to its certificate: without one it gets none (RFC 8705, 3).'),
};

/** What in a certificate names the client. */
const CERTIFICATE_NAMES = [
  'tls_client_auth_subject_dn',
  'tls_client_auth_san_dns',
  'tls_client_auth_san_uri',
  'tls_client_auth_san_ip',
  'tls_client_auth_san_email',
] as const;

/** Whether the client can't be served by a server that sees no certificates. */
export function needsCertificate(metadata: {
  readonly token_endpoint_auth_method: string;
  readonly tls_client_certificate_bound_access_tokens?: boolean | undefined;
}): boolean {
  const { token_endpoint_auth_method: method } = metadata;
  if (method === 'tls_client_auth' || method === 'self_signed_tls_client_auth') return true;
  return metadata.tls_client_certificate_bound_access_tokens === true;
}

export const checkMutualTls: Check<typeof mutualTls & typeof tokens> = (client, object) => {
  const method = client.token_endpoint_auth_method;
  const names = CERTIFICATE_NAMES.filter((member) => client[member] !== undefined);
  if (method === 'tls_client_auth' && names.length !== 1) {
    object([names[1] ?? CERTIFICATE_NAMES[0]], `must be the one member given of ${CERTIFICATE_NAMES.join(', ')}`);
  }
  if (method !== 'tls_client_auth') {
    for (const name of names) object([name], 'is for clients that authenticate with tls_client_auth');
  }
  if (method === 'self_signed_tls_client_auth' && !client.jwks_uri && !client.jwks?.keys.some((key) => key.x5c)) {
    object(
      ['jwks'],
      'must hold the certificate (x5c) for self_signed_tls_client_auth, or jwks_uri must say where it is',
    );
  }
  if (client.tls_client_certificate_bound_access_tokens && client.dpop_bound_access_tokens) {
    object(
      ['tls_client_certificate_bound_access_tokens'],
      'must be left out where dpop_bound_access_tokens is true: a token is bound to one thing',
    );
  }
};
