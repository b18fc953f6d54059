/**
 * The certificate that a client proved itself with in TLS: on our own listener the connection's, behind a proxy the one
 * that the proxy passes on. A header counts only from the proxies that we were told to trust, and never on our own TLS
 * listener, where whoever connects can send any header.
 */
import type { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { certificateFromHeader } from './certificate_header.ts';
import { isFromProxy } from './client_address.ts';

export interface ClientCertificatesSettings {
  /** The header that proxies pass certificates on in; `undefined`: none is believed. */
  readonly header: string | undefined;
  readonly trustedProxies: readonly string[];
  /** The authorities whose certificates prove a name, as they are now: their file may be renewed. */
  readonly authorities: () => readonly X509Certificate[];
}

/** Extended key usage: TLS client authentication (RFC 5280, 4.2.1.12). */
const CLIENT_AUTHENTICATION = '1.3.6.1.5.5.7.3.2';

export class ClientCertificates {
  readonly #settings: ClientCertificatesSettings;
  readonly #isFromProxy: (request: IncomingMessage) => boolean;
  readonly #seen = new WeakMap<IncomingMessage, X509Certificate | undefined>();

  constructor(settings: ClientCertificatesSettings) {
    this.#settings = settings;
    this.#isFromProxy = isFromProxy(settings.trustedProxies);
  }

  /** The certificate that came with a request, whoever issued it; throws `BadCertificateHeader`. */
  of(request: IncomingMessage): X509Certificate | undefined {
    if (!this.#seen.has(request)) this.#seen.set(request, this.#find(request));
    return this.#seen.get(request);
  }

  /** Whether it came from one of the authorities, for proving a name in TLS, and is valid at `now`. */
  isVerified(request: IncomingMessage, now: Date): boolean {
    const certificate = this.of(request);
    if (!certificate || !isValid(certificate, now)) return false;
    // on our own listener OpenSSL has followed the chain that the client sent along
    if (request.socket instanceof TLSSocket)
      return this.#settings.authorities().length > 0 && request.socket.authorized;
    return isForClients(certificate) && this.#settings.authorities().some((one) => hasIssued(one, certificate, now));
  }

  #find(request: IncomingMessage): X509Certificate | undefined {
    const { socket } = request;
    if (socket instanceof TLSSocket) return socket.getPeerX509Certificate();
    const { header } = this.#settings;
    if (header === undefined || !this.#isFromProxy(request)) return undefined;
    return certificateFromHeader(request.headersDistinct[header] ?? []);
  }
}

function hasIssued(authority: X509Certificate, certificate: X509Certificate, now: Date): boolean {
  if (!isValid(authority, now) || !certificate.checkIssued(authority)) return false;
  try {
    return certificate.verify(authority.publicKey);
  } catch {
    // signed with something that OpenSSL doesn't take for a signature of this key
    return false;
  }
}

function isValid({ validFromDate, validToDate }: X509Certificate, now: Date): boolean {
  return validFromDate <= now && now <= validToDate;
}

/** A certificate that doesn't say what it is for is for everything (RFC 5280, 4.2.1.12). */
function isForClients({ keyUsage }: X509Certificate): boolean {
  return keyUsage === undefined || keyUsage.includes(CLIENT_AUTHENTICATION);
}
