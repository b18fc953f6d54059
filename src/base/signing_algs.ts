/**
 * What this server signs with, by the names of JWS (RFC 7518, RFC 9864, ML-DSA as JOSE has it). Ed25519 and EdDSA are
 * one algorithm under its new and its old name: verifiers that know only the old one are still about.
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

/** The ones that every server has keys for; the others get theirs when a resource or a client first names them. */
export const ALWAYS_SIGNING_ALGS: readonly SigningAlg[] = ['ES256', 'RS256'];

export const ONE_OF_SIGNING_ALGS = `must be one of ${SIGNING_ALGS.join(', ')}`;

/**
 * What DPoP proofs may be signed with. No RSA: the key comes with the proof from whoever sends it, and the one with the
 * most expensive exponent would be tried before anything else is known about the sender.
 */
export const DPOP_ALGS = ['ES256', 'Ed25519', 'EdDSA'] as const;
