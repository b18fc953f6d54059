/** Signs what the library signs, in its ID tokens and elsewhere, the way that we sign (keys/signer.ts). */
import type { KeyObject } from 'node:crypto';
import { ExternalSigningKey } from 'oidc-provider';
import type { JWK } from 'jose';
import { Signer } from '../../keys/signer.ts';

/** The keys for the library: those that we have a signer for with that one, the others as they are. */
export function signExternally(jwks: readonly JWK[]): (JWK | ExternalSigningKey)[] {
  return jwks.map((jwk) => {
    const signer = Signer.of(jwk);
    return signer ? new OurKey(jwk, signer) : jwk;
  });
}

class OurKey extends ExternalSigningKey {
  readonly #signer: Signer;

  constructor({ kid, alg }: JWK, signer: Signer) {
    super();
    Object.assign(this, { kid, alg });
    this.#signer = signer;
  }

  /** The public half, which the library publishes. */
  override keyObject(): KeyObject {
    return this.#signer.publicKey;
  }

  override sign(data: Uint8Array): Uint8Array | Promise<Uint8Array> {
    return this.#signer.signBytes(data);
  }
}
