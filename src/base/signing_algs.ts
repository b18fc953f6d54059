/**
 * The algorithms with which this server signs, by their JWS names (RFC 7518, RFC 9864, ML-DSA in JOSE). Ed25519 and
 * EdDSA are the new and the old name of one algorithm: some verifiers know only the old one.
 */
export const SIGNING_ALGS = [
  'ES256',
  'RS256',
  'PS256',
  'Ed25519',
  'EdDSA',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
] as const;
export type SigningAlg = (typeof SIGNING_ALGS)[number];

/** Each server has keys for these. It makes keys for the others when a resource or a client first names them. */
export const ALWAYS_SIGNING_ALGS: readonly SigningAlg[] = ['ES256', 'RS256'];

export const ONE_OF_SIGNING_ALGS = `must be one of ${SIGNING_ALGS.join(', ')}`;

/**
 * The signing algorithms of DPoP proofs. No RSA: the sender puts the key into the proof, and the server would verify with
 * a key of the most expensive exponent before it knows anything about the sender.
 */
export const DPOP_ALGS = ['ES256', 'Ed25519', 'EdDSA'] as const;
