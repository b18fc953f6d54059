/** A client's certificate as a proxy passes it on in a header. */
import { X509Certificate } from 'node:crypto';

/** What the proxy sent is no certificate, in a sentence for whoever set it up. */
export class BadCertificateHeader extends Error {}

/** What proxies write where there was no certificate: nothing, or their word for it (Envoy, Apache). */
const NONE = new Set(['', '-', '(null)']);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Takes a byte sequence (`Client-Cert` of RFC 9440), URL-encoded PEM (nginx, Envoy), and the bare base64 of the DER
 * form (HAProxy, Traefik). Exactly one certificate: of several, two readers could believe two.
 */
export function certificateFromHeader(values: readonly string[]): X509Certificate | undefined {
  const [value = '', ...more] = values;
  if (more.length > 0) throw new BadCertificateHeader('the proxy sent several client certificate headers');
  if (NONE.has(value)) return undefined;
  const der = derOf(value);
  try {
    const certificate = der && new X509Certificate(der);
    if (certificate?.raw.equals(der!)) return certificate;
  } catch {
    // said below
  }
  throw new BadCertificateHeader('the client certificate header of the proxy holds no certificate');
}

function derOf(value: string): Buffer | undefined {
  const bytes = /^:(.*):$/.exec(value)?.[1];
  if (bytes !== undefined) return decoded(bytes);
  const text = unescaped(value);
  const pem = /^-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----\s*$/.exec(text)?.[1];
  return decoded(pem?.replaceAll(/\s/g, '') ?? text);
}

function decoded(base64: string): Buffer | undefined {
  return base64 !== '' && BASE64.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}

function unescaped(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return '';
  }
}
