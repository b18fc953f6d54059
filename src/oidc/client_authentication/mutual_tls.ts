/**
 * Mutual TLS (RFC 8705): clients that prove themselves with a certificate, and tokens that are bound to one. The
 * library compares; what it sees is decided here: which certificate came with a request, whether it is verified, and
 * whether it names the client.
 */
import { hash, type X509Certificate } from 'node:crypto';
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { canonicalName, canonicalSubject } from '../../base/distinguished_name.ts';
import { STRONG_AUTH_METHODS, type ClientDemands } from '../../clients/server_demands.ts';
import { AUTH_METHODS } from '../../clients/metadata/client_authentication.ts';
import { BadCertificateHeader } from '../../http/certificate_header.ts';
import type { ClientCertificates } from '../../http/client_certificates.ts';
import { requestOf } from '../../http/request_context.ts';

export interface MutualTlsSettings {
  /** `undefined`: this server sees no certificates, and promises nothing about them. */
  readonly clientCertificates: ClientCertificates | undefined;
  /** Where clients with a certificate find the endpoints; `undefined`: at the issuer. */
  readonly mtlsUrl: string | undefined;
}

/** The names under which the library asks whether a certificate is the client's. */
type CertificateName = `tls_client_auth_${'subject_dn' | 'san_dns' | 'san_uri' | 'san_ip' | 'san_email'}`;

/** Endpoints that clients speak to themselves, and so may bring a certificate to (RFC 8705, 5). */
const ALIASED: readonly string[] = [
  'token',
  'revocation',
  'introspection',
  'userinfo',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
];

export function mutualTls({ clientCertificates: certificates }: MutualTlsSettings) {
  // a token that was bound while certificates were seen asks for its certificate all the same
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
      return certificate !== undefined && NAMED[property](certificate, expected);
    },
  } as const;
}

/** The ways to prove oneself that this server can check and accepts. */
export function authMethods(
  { clientCertificates }: MutualTlsSettings,
  { strongAuthentication }: ClientDemands,
): (typeof AUTH_METHODS)[number][] {
  return AUTH_METHODS.filter((method) => clientCertificates || !method.endsWith('tls_client_auth')).filter(
    (method) => !strongAuthentication || STRONG_AUTH_METHODS.includes(method),
  );
}

/** The endpoints again, by what discovery calls them, at the address where certificates are asked for. */
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

/** Where the library would answer `invalid_grant` to a client whose tokens are bound to its certificate. */
export function demandCertificate(
  certificates: ClientCertificates | undefined,
  { tlsClientCertificateBoundAccessTokens }: Pick<Client, 'tlsClientCertificateBoundAccessTokens'>,
): void {
  const ctx = Provider.ctx;
  if (!tlsClientCertificateBoundAccessTokens || ctx?.oidc.route !== 'token') return;
  if (!certificates || !certificateOf(certificates, ctx)) {
    throw new errors.InvalidRequest('a client certificate is required: this client’s tokens are bound to it');
  }
}

/** What a certificate is known by in tokens and keys (`x5t#S256`); `undefined` where none came with the request. */
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

/** Names in a certificate stand for themselves: a wildcard among them matches nothing, and a subject is no host. */
const NAMED: Readonly<Record<CertificateName, (certificate: X509Certificate, expected: string) => boolean>> = {
  tls_client_auth_subject_dn: ({ subject }, expected) => canonicalSubject(subject) === canonicalName(expected),
  tls_client_auth_san_dns: (certificate, expected) =>
    certificate.checkHost(expected, { subject: 'never', wildcards: false, partialWildcards: false }) !== undefined,
  tls_client_auth_san_ip: (certificate, expected) => certificate.checkIP(expected) !== undefined,
  tls_client_auth_san_email: (certificate, expected) =>
    certificate.checkEmail(expected, { subject: 'never' }) !== undefined,
  tls_client_auth_san_uri: ({ subjectAltName }, expected) => urisIn(subjectAltName).includes(expected),
};

/**
 * Node lists alternative names as `DNS:a.example, URI:"…"`; a value that could be mistaken for two is quoted as JSON.
 * What can't be read to its end names nobody.
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
