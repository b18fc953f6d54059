/**
 * Validates the public keys of a client. Their size is limited, because unknown clients can register keys and the
 * server verifies with them.
 */
import { createPublicKey, X509Certificate, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'priv', 'k'];
/** Curves for signatures. X25519 and X448 are for key agreement, and no algorithm of this server uses secp256k1. */
const CURVES: Readonly<Record<string, readonly string[]>> = {
  EC: ['P-256', 'P-384', 'P-521'],
  OKP: ['Ed25519'],
};
const MODULUS_BITS_LEAST = 2_048;
const MODULUS_BITS_MOST = 4_096;
/**
 * The cost of a verification grows with the bits of the exponent. The usual exponent, 65537, has 17 bits (NIST SP
 * 800-56B).
 */
const EXPONENT_BITS_MOST = 32;

/** A public key (RFC 7517) that this server can verify with. */
export const PublicJwk = z
  .looseObject({
    kty: z.enum(['EC', 'RSA', 'OKP'], 'must be EC, RSA or OKP (public keys only)'),
    kid: z.string().min(1, 'must not be empty').max(200).optional(),
    alg: z.string().min(1, 'must not be empty').max(100).optional(),
    use: z.string().min(1, 'must not be empty').max(100).optional(),
    x5c: z.array(z.string().min(1, 'must not be empty')).min(1, 'must not be empty').optional(),
  })
  .refine(
    (jwk) => PRIVATE_MEMBERS.every((member) => !(member in jwk)),
    'must not contain a private key; register the public key',
  )
  .refine((jwk) => JSON.stringify(jwk).length <= 8_000, 'must not be longer than 8000 characters')
  .refine(isAcceptedSize, {
    abort: true,
    error: `must be on P-256, P-384, P-521 or Ed25519, or RSA with ${MODULUS_BITS_LEAST} to ${MODULUS_BITS_MOST} bits and a public exponent of at most ${EXPONENT_BITS_MOST} bits`,
  })
  .refine(isUsableKey, 'must be a complete public key')
  .refine(
    isKeyOfItsCertificate,
    'must contain the certificate of this key as the first value of x5c, as base64 of its DER form',
  );

/** Whether a verification with the key is cheap. Checks only lengths, before any computation with the key. */
export function isAcceptedSize({ kty, crv, n, e }: Readonly<Record<string, unknown>>): boolean {
  if (kty !== 'RSA') return typeof kty === 'string' && typeof crv === 'string' && (CURVES[kty] ?? []).includes(crv);
  const [modulus, exponent] = [bitsOf(n), bitsOf(e)];
  return (
    modulus >= MODULUS_BITS_LEAST && modulus <= MODULUS_BITS_MOST && exponent > 1 && exponent <= EXPONENT_BITS_MOST
  );
}

/** Returns the bits of a number in base64url; 0 if it is not a number. */
function bitsOf(value: unknown): number {
  if (typeof value !== 'string' || !/^[\w-]+$/.test(value)) return 0;
  const bytes = Buffer.from(value, 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? 0 : (bytes.length - first) * 8 - (Math.clz32(bytes[first]!) - 24);
}

/** Whether Node can import the key; a client with other keys could never authenticate. */
function isUsableKey(jwk: JsonWebKey): boolean {
  try {
    createPublicKey({ key: jwk, format: 'jwk' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether the certificate belongs to the key (RFC 7517, 4.7): a certificate must not authenticate another key in TLS.
 */
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
