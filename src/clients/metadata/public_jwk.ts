/** A client's public keys, as they are registered or published. A stranger may name them, so what they cost is bounded. */
import { createPublicKey, X509Certificate, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'priv', 'k'];
/** What verifications are made with. X25519 and X448 agree on keys, and secp256k1 signs with no algorithm taken here. */
const CURVES: Readonly<Record<string, readonly string[]>> = {
  EC: ['P-256', 'P-384', 'P-521'],
  OKP: ['Ed25519'],
};
const MODULUS_BITS_LEAST = 2_048;
const MODULUS_BITS_MOST = 4_096;
/** A verification costs as many steps as the exponent has bits. Everybody uses 65537, which has 17 (NIST SP 800-56B). */
const EXPONENT_BITS_MOST = 32;

/** A public key in the shape of RFC 7517 that this server can verify with. */
export const PublicJwk = z
  .looseObject({
    kty: z.enum(['EC', 'RSA', 'OKP'], 'must be EC, RSA or OKP: only public keys are registered'),
    kid: z.string().min(1, 'must not be empty').max(200).optional(),
    alg: z.string().min(1, 'must not be empty').max(100).optional(),
    use: z.string().min(1, 'must not be empty').max(100).optional(),
    x5c: z.array(z.string().min(1, 'must not be empty')).min(1, 'must not be empty').optional(),
  })
  .refine(
    (jwk) => PRIVATE_MEMBERS.every((member) => !(member in jwk)),
    'must not contain a private key; register the public half',
  )
  .refine((jwk) => JSON.stringify(jwk).length <= 8_000, 'must not be longer than 8000 characters')
  .refine(isOfTakenSize, {
    abort: true,
    error: `must be on P-256, P-384, P-521 or Ed25519, or RSA with ${MODULUS_BITS_LEAST} bits or more, ${MODULUS_BITS_MOST} at most, and a public exponent of ${EXPONENT_BITS_MOST} bits at most`,
  })
  .refine(isUsableKey, 'must be a whole public key')
  .refine(isKeyOfItsCertificate, 'must have the certificate of this very key first in x5c, as base64 of its DER form');

/** Whether a verification with it is cheap. Looks at lengths alone, before anything is computed with the key. */
export function isOfTakenSize({ kty, crv, n, e }: Readonly<Record<string, unknown>>): boolean {
  if (kty !== 'RSA') return typeof crv === 'string' && (CURVES[String(kty)] ?? []).includes(crv);
  const [modulus, exponent] = [bitsOf(n), bitsOf(e)];
  return (
    modulus >= MODULUS_BITS_LEAST && modulus <= MODULUS_BITS_MOST && exponent > 1 && exponent <= EXPONENT_BITS_MOST
  );
}

/** The length of a number in base64url; 0 for what is none. */
function bitsOf(value: unknown): number {
  if (typeof value !== 'string' || !/^[\w-]+$/.test(value)) return 0;
  const bytes = Buffer.from(value, 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? 0 : (bytes.length - first) * 8 - (Math.clz32(bytes[first]!) - 24);
}

/** A client whose keys can't be read is registered and works nowhere. */
function isUsableKey(jwk: JsonWebKey): boolean {
  try {
    createPublicKey({ key: jwk, format: 'jwk' });
    return true;
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
