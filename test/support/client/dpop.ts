/** Proofs of possession (DPoP) by hand, so that any part of them can be wrong. */
import { createHash, randomUUID } from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';

export interface ProofKey {
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: JWK;
  readonly privateJwk: JWK;
  readonly thumbprint: string;
}

export async function makeProofKey(alg = 'ES256'): Promise<ProofKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(publicKey);
  const privateJwk = await exportJWK(privateKey);
  return { alg, privateKey, publicKey, jwk, privateJwk, thumbprint: await calculateJwkThumbprint(jwk) };
}

export interface ProofParts {
  /** Members that are `undefined` are left out. */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Signs in the place of the key that the header shows. */
  readonly signer?: CryptoKey;
}

export function prove(
  key: ProofKey,
  [htm, htu]: readonly [method: string, url: string],
  { header = {}, claims = {}, signer = key.privateKey }: ProofParts = {},
): Promise<string> {
  const payload = { jti: randomUUID(), htm, htu, iat: Math.floor(Date.now() / 1000), ...claims };
  return new SignJWT(JSON.parse(JSON.stringify(payload)) as Record<string, unknown>)
    .setProtectedHeader({ alg: key.alg, typ: 'dpop+jwt', jwk: key.jwk, ...header })
    .sign(signer);
}

/** What a proof for a protected resource says about the access token (RFC 9449, 4.2). */
export function athOf(accessToken: string): string {
  return createHash('sha256').update(accessToken).digest('base64url');
}
