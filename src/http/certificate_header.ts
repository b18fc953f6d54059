/** Parses the client certificate that a proxy passes in a header. */
import { X509Certificate } from 'node:crypto';

/** The proxy sent a header that is not a certificate; the message tells the operator of the proxy. */
export class BadCertificateHeader extends Error {}

/** The values that proxies send if the client has no certificate (Envoy, Apache). */
const NONE = new Set(['', '-', '(null)']);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Parses the values of the header: a byte sequence (`Client-Cert` of RFC 9440), URL-encoded PEM (nginx, Envoy), or the
 * bare base64 of the DER form (HAProxy, Traefik). Accepts exactly one certificate, because two readers could choose
 * different ones. Returns `undefined` if the client has none; throws `BadCertificateHeader`.
 */
export function certificateFromHeader(values: readonly string[]): X509Certificate | undefined {
  const [value = '', ...more] = values;
  if (more.length > 0) throw new BadCertificateHeader('the proxy sent more than one client certificate header');
  if (NONE.has(value)) return undefined;
  const der = derOf(value);
  try {
    const certificate = der && new X509Certificate(der);
    if (certificate?.raw.equals(der!)) return certificate;
  } catch {
    // the error below covers this
  }
  throw new BadCertificateHeader('the client certificate header of the proxy contains no certificate');
}

function derOf(value: string): Buffer | undefined {
  const bytes = /^:(.*):$/.exec(value)?.[1];
  if (bytes !== undefined) return decodeBase64(bytes);
  const text = decodePercent(value);
  const pem = /^-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----\s*$/.exec(text)?.[1];
  return decodeBase64(pem?.replaceAll(/\s/g, '') ?? text);
}

function decodeBase64(base64: string): Buffer | undefined {
  return base64 !== '' && BASE64.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}

function decodePercent(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return '';
  }
}
