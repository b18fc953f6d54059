/** Signs JWTs with elliptic curves, at once and in one piece: a job of its own for each costs more than the signature. */
import { createPrivateKey, sign, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';

/** By JWS algorithm (RFC 7518, 3.4; RFC 8037): the digest, where the curve doesn't bring its own. */
const DIGESTS: Readonly<Record<string, string | null>> = { ES256: 'sha256', EdDSA: null, Ed25519: null };

export class Signer {
  readonly #alg: string;
  readonly #kid: string;
  readonly #key: KeyObject;
  readonly #digest: string | null;
  /** By `typ`: there are one or two. */
  readonly #headers = new Map<string, string>();

  private constructor(alg: string, kid: string, key: KeyObject) {
    this.#alg = alg;
    this.#kid = kid;
    this.#key = key;
    this.#digest = DIGESTS[alg]!;
  }

  /** `undefined` for an algorithm that takes so long that others would wait for it, such as RSA. */
  static of({ alg = '', kid = '', ...jwk }: JWK): Signer | undefined {
    if (!(alg in DIGESTS)) return undefined;
    return new Signer(alg, kid, createPrivateKey({ key: jwk, format: 'jwk' }));
  }

  /** A JWS in compact form (RFC 7515, 7.1). */
  sign(typ: string, claims: object): string {
    const signed = `${this.#header(typ)}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    const signature = sign(this.#digest, Buffer.from(signed, 'latin1'), {
      key: this.#key,
      dsaEncoding: 'ieee-p1363',
    });
    return `${signed}.${signature.toString('base64url')}`;
  }

  #header(typ: string): string {
    let header = this.#headers.get(typ);
    if (header === undefined) {
      header = Buffer.from(JSON.stringify({ alg: this.#alg, typ, kid: this.#kid })).toString('base64url');
      this.#headers.set(typ, header);
    }
    return header;
  }
}
