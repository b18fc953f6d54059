/**
 * Finds the TLS client certificate of a request. On this server's TLS listener it is the certificate of the connection;
 * behind a proxy it is in a header. Only headers from trusted proxies count, and none on the TLS listener, because any
 * client can send the header there.
 */
import type { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { certificateFromHeader } from './certificate_header.ts';
import { isFromTrustedProxy } from './client_address.ts';

export interface ClientCertificatesSettings {
  /** The header with the certificate; `undefined` if no header is trusted. */
  readonly header: string | undefined;
  readonly trustedProxies: readonly string[];
  /** Returns the trusted authorities as they are now; the file may be renewed at run time. */
  readonly authorities: () => readonly X509Certificate[];
}

/** Extended key usage: TLS client authentication (RFC 5280, 4.2.1.12). */
const CLIENT_AUTHENTICATION = '1.3.6.1.5.5.7.3.2';

export class ClientCertificates {
  readonly #settings: ClientCertificatesSettings;
  readonly #isFromTrustedProxy: (request: IncomingMessage) => boolean;
  readonly #seen = new WeakMap<IncomingMessage, X509Certificate | undefined>();

  constructor(settings: ClientCertificatesSettings) {
    this.#settings = settings;
    this.#isFromTrustedProxy = isFromTrustedProxy(settings.trustedProxies);
  }

  /** Returns the client certificate of the request without verifying its issuer. Throws `BadCertificateHeader`. */
  of(request: IncomingMessage): X509Certificate | undefined {
    if (!this.#seen.has(request)) this.#seen.set(request, this.#find(request));
    return this.#seen.get(request);
  }

  /** Whether a trusted authority issued the certificate for TLS client authentication, and it is valid at `now`. */
  isVerified(request: IncomingMessage, now: Date): boolean {
    const certificate = this.of(request);
    if (!certificate || !isValid(certificate, now)) return false;
    // on our own listener OpenSSL has verified the chain that the client sent
    if (request.socket instanceof TLSSocket)
      return this.#settings.authorities().length > 0 && request.socket.authorized;
    return (
      allowsClientAuthentication(certificate) &&
      this.#settings.authorities().some((one) => hasIssued(one, certificate, now))
    );
  }

  #find(request: IncomingMessage): X509Certificate | undefined {
    const { socket } = request;
    if (socket instanceof TLSSocket) return socket.getPeerX509Certificate();
    const { header } = this.#settings;
    if (header === undefined || !this.#isFromTrustedProxy(request)) return undefined;
    return certificateFromHeader(request.headersDistinct[header] ?? []);
  }
}

function hasIssued(authority: X509Certificate, certificate: X509Certificate, now: Date): boolean {
  if (!isValid(authority, now) || !certificate.checkIssued(authority)) return false;
  try {
    return certificate.verify(authority.publicKey);
  } catch {
    // OpenSSL cannot verify the signature with this key
    return false;
  }
}

function isValid({ validFromDate, validToDate }: X509Certificate, now: Date): boolean {
  return validFromDate <= now && now <= validToDate;
}

/** A certificate without extended key usage is valid for every use (RFC 5280, 4.2.1.12). */
function allowsClientAuthentication({ keyUsage }: X509Certificate): boolean {
  return keyUsage === undefined || keyUsage.includes(CLIENT_AUTHENTICATION);
}
