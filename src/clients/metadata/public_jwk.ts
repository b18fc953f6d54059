/** A client's public keys, as they are registered. */
import { createPublicKey, X509Certificate, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
/** A public key in the shape of RFC 7517 that this server can verify with. */
export const PublicJwk = z
  .looseObject({
    kty: z.enum(['EC', 'RSA', 'OKP'], 'must be EC, RSA or OKP: only public keys are registered'),
    kid: z.string().min(1, 'must not be empty').max(200).optional(),
    alg: z.string().min(1, 'must not be empty').optional(),
    use: z.string().min(1, 'must not be empty').optional(),
    x5c: z.array(z.string().min(1, 'must not be empty')).min(1, 'must not be empty').optional(),
  })
  .refine(
    (jwk) => PRIVATE_MEMBERS.every((member) => !(member in jwk)),
    'must not contain a private key; register the public half',
  )
  .refine((jwk) => JSON.stringify(jwk).length <= 8_000, 'must not be longer than 8000 characters')
  .refine(isUsableKey, 'must be a whole public key, and an RSA key must have 2048 bits or more')
  .refine(isKeyOfItsCertificate, 'must have the certificate of this very key first in x5c, as base64 of its DER form');

/** A client whose keys can't be read is registered and works nowhere. */
function isUsableKey(jwk: JsonWebKey): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key: jwk, format: 'jwk' });
    return asymmetricKeyType !== 'rsa' || (asymmetricKeyDetails?.modulusLength ?? 0) >= 2_048;
  } catch {
    return false;
  }
}

/** RFC 7517, 4.7; what a certificate proves in TLS it must not prove for another key. */
function isKeyOfItsCertificate({
  x5c,
  ...jwk
}: JsonWebKey & { readonly x5c?: readonly string[] | undefined }): boolean {
  if (x5c === undefined) return true;
  try {
    const der = Buffer.from(x5c[0]!, 'base64');
    const { raw, publicKey } = new X509Certificate(der);
    return raw.equals(der) && publicKey.equals(createPublicKey({ key: jwk, format: 'jwk' }));
  } catch {
    return false;
  }
}
