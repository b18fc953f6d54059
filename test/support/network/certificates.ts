/** Certificates as authorities and clients make them, and requests that bring one. */
// @peculiar/x509 wants it to be there first
// oxlint-disable-next-line import/no-unassigned-import
import 'reflect-metadata';
import { hash, X509Certificate } from 'node:crypto';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type JsonGeneralNames,
  type JsonName,
} from '@peculiar/x509';
import { exportJWK, exportPKCS8, type JWK } from 'jose';

cryptoProvider.set(crypto);

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const DAY_MILLISECONDS = 86_400_000;

export interface Certified {
  readonly certificate: X509Certificate;
  readonly cert: string;
  readonly key: string;
  readonly keys: CryptoKeyPair;
  /** The public key with the certificate, as a client registers it. */
  readonly jwk: JWK & { readonly x5c: string[] };
  /** `x5t#S256` of the certificate. */
  readonly thumbprint: string;
}

export interface CertificateParts {
  /** As RFC 4514 text turned round, the first part first, or part by part. */
  readonly subject?: string | Readonly<JsonName>;
  readonly names?: JsonGeneralNames;
  readonly usages?: readonly string[];
  readonly authority?: boolean;
  /** Signs it; left out, it signs itself. */
  readonly by?: Certified;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Besides those that each certificate has. */
  readonly extensions?: readonly Extension[];
  /** Made for these keys instead of new ones. */
  readonly keys?: CryptoKeyPair;
}

export async function certify(parts: CertificateParts = {}): Promise<Certified> {
  const { by, authority = false, names, usages, extensions = [] } = parts;
  const subject = typeof parts.subject === 'object' ? [...parts.subject] : (parts.subject ?? 'CN=client');
  const keys = parts.keys ?? (await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']));
  const made = await X509CertificateGenerator.create({
    subject,
    issuer: by?.certificate.subject.split('\n').toReversed().join(',') ?? subject,
    publicKey: keys.publicKey,
    signingKey: (by?.keys ?? keys).privateKey,
    signingAlgorithm: ECDSA,
    notBefore: parts.notBefore ?? new Date(Date.now() - DAY_MILLISECONDS),
    notAfter: parts.notAfter ?? new Date(Date.now() + DAY_MILLISECONDS),
    extensions: [
      new BasicConstraintsExtension(authority, undefined, true),
      new KeyUsagesExtension(authority ? KeyUsageFlags.keyCertSign : KeyUsageFlags.digitalSignature, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(by ? [await AuthorityKeyIdentifierExtension.create(by.keys.publicKey)] : []),
      ...(usages ? [new ExtendedKeyUsageExtension([...usages])] : []),
      ...(names ? [new SubjectAlternativeNameExtension(names)] : []),
      ...extensions,
    ],
  });
  const certificate = new X509Certificate(Buffer.from(made.rawData));
  return {
    certificate,
    cert: certificate.toString(),
    key: await exportPKCS8(keys.privateKey),
    keys,
    jwk: { ...(await exportJWK(keys.publicKey)), x5c: [certificate.raw.toString('base64')] },
    thumbprint: hash('sha256', certificate.raw, 'base64url'),
  };
}

/** A fetch that brings this client certificate, or none, to the TLS listener whose certificate `ca` has signed. */
export function fetchWith(client: Pick<Certified, 'cert' | 'key'> | undefined, ca: Certified): typeof fetch {
  return async (input, init = {}) => {
    const asked = new Request(input, init);
    const body = Buffer.from(await asked.arrayBuffer());
    return new Promise<Response>((resolve, reject) => {
      const outgoing = request(
        asked.url,
        {
          method: asked.method,
          headers: { ...Object.fromEntries(asked.headers), 'content-length': body.length },
          ca: ca.cert,
          agent: false,
          ...(client && { cert: client.cert, key: client.key }),
        },
        (incoming) => {
          const headers = new Headers();
          for (const [name, values] of Object.entries(incoming.headersDistinct)) {
            for (const value of values ?? []) headers.append(name, value);
          }
          const status = incoming.statusCode!;
          void text(incoming).then(
            (answer) => resolve(new Response([204, 304].includes(status) ? null : answer, { status, headers })),
            reject,
          );
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  };
}
