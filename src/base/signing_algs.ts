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

/**
 * Algorithms whose keys have a set of their own: many verifiers refuse a whole JWK Set for one key of a type (`AKP`)
 * that they do not know. They sign access tokens of resources that name them, and nothing that a client verifies.
 */
const ML_DSA = ['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const satisfies readonly SigningAlg[];
export type MlDsaAlg = (typeof ML_DSA)[number];

export function isMlDsa(alg: unknown): alg is MlDsaAlg {
  return ML_DSA.includes(alg as MlDsaAlg);
}

export const JWKS_PATH = '/jwks';
export const ML_DSA_JWKS_PATH = '/jwks/ml-dsa';

/** The path below the issuer of the JWK Set that has the keys of an algorithm. */
export function jwksPathOf(alg: SigningAlg): string {
  return isMlDsa(alg) ? ML_DSA_JWKS_PATH : JWKS_PATH;
}

/** What the server signs for clients: ID tokens, userinfo, authorization responses, introspection, logout tokens. */
export const RESPONSE_ALGS: readonly SigningAlg[] = SIGNING_ALGS.filter((alg) => !isMlDsa(alg));

/** The members of a client's metadata that name such an algorithm. */
export const RESPONSE_ALG_MEMBERS = [
  'id_token_signed_response_alg',
  'userinfo_signed_response_alg',
  'introspection_signed_response_alg',
  'authorization_signed_response_alg',
] as const;

export const ONE_OF_SIGNING_ALGS = `must be one of ${SIGNING_ALGS.join(', ')}`;

/**
 * The signing algorithms of DPoP proofs. No RSA: the sender puts the key into the proof, and the server would verify with
 * a key of the most expensive exponent before it knows anything about the sender.
 */
export const DPOP_ALGS = ['ES256', 'Ed25519', 'EdDSA'] as const;
