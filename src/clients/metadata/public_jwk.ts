/** A client's public keys, as they are registered. */
import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
/** A public key in the shape of RFC 7517 that this server can verify with. */
export const PublicJwk = z
  .looseObject({
    kty: z.enum(['EC', 'RSA', 'OKP'], 'must be EC, RSA or OKP: only public keys are registered'),
    kid: z.string().min(1, 'must not be empty').max(200).optional(),
    alg: z.string().min(1, 'must not be empty').optional(),
    use: z.string().min(1, 'must not be empty').optional(),
    x5c: z.array(z.string().min(1, 'must not be empty')).optional(),
  })
  .refine(
    (jwk) => PRIVATE_MEMBERS.every((member) => !(member in jwk)),
    'must not contain a private key; register the public half',
  )
  .refine((jwk) => JSON.stringify(jwk).length <= 8_000, 'must not be longer than 8000 characters')
  .refine(isUsableKey, 'must be a whole public key, and an RSA key must have 2048 bits or more');

/** A client whose keys can't be read is registered and works nowhere. */
function isUsableKey(jwk: JsonWebKey): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key: jwk, format: 'jwk' });
    return asymmetricKeyType !== 'rsa' || (asymmetricKeyDetails?.modulusLength ?? 0) >= 2_048;
  } catch {
    return false;
  }
}
