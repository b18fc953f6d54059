/** Metadata members for mutual TLS: authentication with a certificate, and certificate-bound tokens (RFC 8705). */
import { isIP } from 'node:net';
import { z } from 'zod';
import { canonicalName } from '../../base/distinguished_name.ts';
import type { Check } from './check.ts';
import type { tokens } from './tokens.ts';

/** A complete host name: no wildcard, and no leading dot, which would match all subdomains. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;

export const mutualTls = {
  tls_client_auth_subject_dn: z
    .string()
    .max(1_000, 'must not be longer than 1000 characters')
    .optional()
    .describe('The certificate subject of a client with tls_client_auth (RFC 4514, most specific part first).'),
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
  tls_client_auth_san_email: z.email('must be an email address').max(254).optional(),
  tls_client_certificate_bound_access_tokens: z
    .boolean()
    .optional()
    .describe(
      'Whether the server binds every token of the client to its certificate, and issues none without one (RFC 8705, 3).',
    ),
};

/** Members that identify the client in its certificate. */
const CERTIFICATE_NAMES = [
  'tls_client_auth_subject_dn',
  'tls_client_auth_san_dns',
  'tls_client_auth_san_uri',
  'tls_client_auth_san_ip',
  'tls_client_auth_san_email',
] as const;

/** Whether the client needs a server that sees client certificates. */
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
    object([names[1] ?? CERTIFICATE_NAMES[0]], `must be exactly one of ${CERTIFICATE_NAMES.join(', ')}`);
  }
  const { tls_client_auth_subject_dn: subject } = client;
  // only here, and thus only for a client that may use it, because it takes time
  if (method === 'tls_client_auth' && subject !== undefined && canonicalName(subject) === undefined) {
    object(
      ['tls_client_auth_subject_dn'],
      'must be a distinguished name (RFC 4514), such as CN=payments,O=Example Bank,C=DE',
    );
  }
  if (method !== 'tls_client_auth') {
    for (const name of names) object([name], 'is only allowed for clients that authenticate with tls_client_auth');
  }
  if (method === 'self_signed_tls_client_auth' && !client.jwks_uri && !client.jwks?.keys.some((key) => key.x5c)) {
    object(
      ['jwks'],
      'must contain the certificate (x5c) for self_signed_tls_client_auth, unless jwks_uri names its location',
    );
  }
  if (client.tls_client_certificate_bound_access_tokens && client.dpop_bound_access_tokens) {
    object(
      ['tls_client_certificate_bound_access_tokens'],
      'must be absent if dpop_bound_access_tokens is true: a token is bound to one key only',
    );
  }
};
