/**
 * Makes the library sign with this server's signers (keys/signer.ts), for ID tokens and everything else that the
 * library signs.
 */
import type { KeyObject } from 'node:crypto';
import { ExternalSigningKey } from 'oidc-provider';
import type { JWK } from 'jose';
import { Signer } from '../../keys/signer.ts';

/** Converts keys for the library: a key that has a signer is wrapped, others stay as they are. */
export function signExternally(jwks: readonly JWK[]): (JWK | ExternalSigningKey)[] {
  return jwks.map((jwk) => {
    const signer = Signer.of(jwk);
    return signer ? new SignerKey(jwk, signer) : jwk;
  });
}

class SignerKey extends ExternalSigningKey {
  readonly #signer: Signer;

  constructor({ kid, alg }: JWK, signer: Signer) {
    super();
    Object.assign(this, { kid, alg });
    this.#signer = signer;
  }

  /** The public key, which the library publishes. */
  override keyObject(): KeyObject {
    return this.#signer.publicKey;
  }

  override sign(data: Uint8Array): Uint8Array | Promise<Uint8Array> {
    return this.#signer.signBytes(data);
  }
}
