/**
 * Mutual TLS (RFC 8705): client authentication with a certificate, and certificate-bound tokens. The library makes the
 * comparisons; this file tells it which certificate a request has, whether it is verified and whether it names the
 * client.
 */
import { hash, type X509Certificate } from 'node:crypto';
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { canonicalName, canonicalSubject } from '../../base/distinguished_name.ts';
import { STRONG_AUTH_METHODS, type ClientDemands } from '../../clients/server_requirements.ts';
import { AUTH_METHODS } from '../../clients/metadata/client_authentication.ts';
import { BadCertificateHeader } from '../../http/certificate_header.ts';
import type { ClientCertificates } from '../../http/client_certificates.ts';
import { requestOf } from '../../http/request_context.ts';

export interface MutualTlsSettings {
  /** `undefined` if this server receives no certificates; discovery then announces no mutual TLS. */
  readonly clientCertificates: ClientCertificates | undefined;
  /** The base URL of the endpoints for clients with a certificate; `undefined` if it is the issuer. */
  readonly mtlsUrl: string | undefined;
}

/** The metadata members for which the library asks whether a certificate matches. */
type CertificateName = `tls_client_auth_${'subject_dn' | 'san_dns' | 'san_uri' | 'san_ip' | 'san_email'}`;

/** Endpoints that clients call directly, and so can present a certificate to (RFC 8705, 5). */
const ALIASED: readonly string[] = [
  'token',
  'revocation',
  'introspection',
  'userinfo',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
];

/** The library's configuration of mutual TLS. */
export function mutualTls({ clientCertificates: certificates }: MutualTlsSettings) {
  // the library still requires the certificate for a token that was bound to one earlier
  if (!certificates) return { enabled: false, getCertificate: () => undefined } as const;
  return {
    enabled: true,
    certificateBoundAccessTokens: true,
    selfSignedTlsClientAuth: true,
    tlsClientAuth: true,
    getCertificate: (ctx: KoaContextWithOIDC) => certificateOf(certificates, ctx),
    certificateAuthorized: (ctx: KoaContextWithOIDC) => certificates.isVerified(ctx.req, requestOf(ctx).now),
    certificateSubjectMatches: (ctx: KoaContextWithOIDC, property: CertificateName, expected: string) => {
      const certificate = certificateOf(certificates, ctx);
      return certificate !== undefined && MATCHES[property](certificate, expected);
    },
  } as const;
}

/** The client authentication methods that this server supports and permits. */
export function authMethods(
  { clientCertificates }: MutualTlsSettings,
  { strongAuthentication }: ClientDemands,
): (typeof AUTH_METHODS)[number][] {
  return AUTH_METHODS.filter((method) => clientCertificates || !method.endsWith('tls_client_auth')).filter(
    (method) => !strongAuthentication || STRONG_AUTH_METHODS.includes(method),
  );
}

/** `mtls_endpoint_aliases` for discovery: the endpoints' URLs at `mtlsUrl`; `undefined` without `mtlsUrl`. */
export function endpointAliases(
  { mtlsUrl }: MutualTlsSettings,
  routes: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> | undefined {
  if (mtlsUrl === undefined) return undefined;
  const aliased = ALIASED.flatMap((route) => {
    const path = routes[route];
    return path === undefined ? [] : [[`${route}_endpoint`, `${mtlsUrl}${path}`] as const];
  });
  return Object.fromEntries(aliased);
}

/**
 * Throws `invalid_request` if a client whose tokens must be bound to its certificate sends none; the library would
 * answer `invalid_grant`.
 */
export function demandCertificate(
  certificates: ClientCertificates | undefined,
  { tlsClientCertificateBoundAccessTokens }: Pick<Client, 'tlsClientCertificateBoundAccessTokens'>,
): void {
  const ctx = Provider.ctx;
  if (!tlsClientCertificateBoundAccessTokens || ctx?.oidc.route !== 'token') return;
  if (!certificates || !certificateOf(certificates, ctx)) {
    throw new errors.InvalidRequest('a client certificate is required: the tokens of this client are bound to it');
  }
}

/** The digest of the request's certificate, as in tokens and keys (`x5t#S256`); `undefined` if it has none. */
export function presentedDigest(certificates: ClientCertificates | undefined): string | undefined {
  const ctx = Provider.ctx;
  const certificate = ctx && certificates && certificateOf(certificates, ctx);
  return certificate && hash('sha256', certificate.raw, 'base64url');
}

function certificateOf(certificates: ClientCertificates, ctx: KoaContextWithOIDC): X509Certificate | undefined {
  try {
    return certificates.of(ctx.req);
  } catch (error) {
    if (error instanceof BadCertificateHeader) throw new errors.InvalidRequest(error.message);
    throw error;
  }
}

/** Names in a certificate are compared exactly: a wildcard matches nothing, and the subject is not a host name. */
const MATCHES: Readonly<Record<CertificateName, (certificate: X509Certificate, expected: string) => boolean>> = {
  tls_client_auth_subject_dn: ({ subject }, expected) => canonicalSubject(subject) === canonicalName(expected),
  tls_client_auth_san_dns: (certificate, expected) =>
    certificate.checkHost(expected, { subject: 'never', wildcards: false, partialWildcards: false }) !== undefined,
  tls_client_auth_san_ip: (certificate, expected) => certificate.checkIP(expected) !== undefined,
  tls_client_auth_san_email: (certificate, expected) =>
    certificate.checkEmail(expected, { subject: 'never' }) !== undefined,
  tls_client_auth_san_uri: ({ subjectAltName }, expected) => urisIn(subjectAltName).includes(expected),
};

/**
 * The URIs among the alternative names. Node lists them as `DNS:a.example, URI:"…"`, and quotes an ambiguous value as
 * JSON. Returns an empty list if the text can't be parsed completely.
 */
function urisIn(subjectAltName: string | undefined): string[] {
  const entry = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/gy;
  const uris: string[] = [];
  let read = 0;
  for (const [whole, type, value = ''] of (subjectAltName ?? '').matchAll(entry)) {
    read += whole.length;
    if (type === 'URI') uris.push(value.startsWith('"') ? String(JSON.parse(value)) : value);
  }
  return read === (subjectAltName ?? '').length ? uris : [];
}
