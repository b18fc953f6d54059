/**
 * Signs JWTs. Signs with elliptic curves synchronously, because a job in the thread pool costs more than the signature;
 * signs with RSA in Node's thread pool, because its slow signature would block other requests.
 */
import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { JWK } from 'jose';

/** The digest of each JWS algorithm (RFC 7518, 3.4; RFC 8037); null if the curve defines its own. */
const DIGESTS: Readonly<Record<string, string | null>> = {
  ES256: 'sha256',
  EdDSA: null,
  Ed25519: null,
  RS256: 'sha256',
};

const signInPool = promisify(sign);

const P256_BYTES = 32;

export class Signer {
  readonly #alg: string;
  readonly #kid: string;
  readonly #key: KeyObject;
  readonly #digest: string | null;
  /** Encoded headers by `typ`; there are one or two. */
  readonly #headers = new Map<string | undefined, string>();

  private constructor(alg: string, kid: string, key: KeyObject) {
    this.#alg = alg;
    this.#kid = kid;
    this.#key = key;
    this.#digest = DIGESTS[alg]!;
  }

  /** Returns `undefined` for a rarely used algorithm; `jose` signs with it instead. */
  static of({ alg = '', kid = '', ...jwk }: JWK): Signer | undefined {
    if (!(alg in DIGESTS)) return undefined;
    return new Signer(alg, kid, createPrivateKey({ key: jwk, format: 'jwk' }));
  }

  /** Returns a JWS in compact serialization (RFC 7515, 7.1). */
  sign(typ: string | undefined, claims: object): string | Promise<string> {
    const signed = `${this.#header(typ)}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    const signature = this.signBytes(Buffer.from(signed, 'latin1'));
    const compact = (bytes: Buffer): string => `${signed}.${bytes.toString('base64url')}`;
    return signature instanceof Promise ? signature.then(compact) : compact(signature);
  }

  /** Returns a signature in the form of JWS. */
  signBytes(data: Uint8Array): Buffer | Promise<Buffer> {
    if (this.#alg === 'RS256') return signInPool(this.#digest, data, this.#key);
    // passes only the key: an options object with the signature encoding costs as much as the signature
    const signature = sign(this.#digest, data, this.#key);
    return this.#digest === null ? signature : fromDer(signature);
  }

  get publicKey(): KeyObject {
    return createPublicKey(this.#key);
  }

  #header(typ: string | undefined): string {
    let header = this.#headers.get(typ);
    if (header === undefined) {
      header = Buffer.from(JSON.stringify({ alg: this.#alg, typ, kid: this.#kid })).toString('base64url');
      this.#headers.set(typ, header);
    }
    return header;
  }
}

/**
 * Converts an ECDSA signature of P-256 from DER to the form of JWS: both integers in full length, one after the other
 * (RFC 7518, 3.4).
 */
function fromDer(der: Buffer): Buffer {
  const signature = Buffer.alloc(2 * P256_BYTES);
  // SEQUENCE, INTEGER r, INTEGER s, each with a length of one byte, because they are short
  const sAt = 4 + der[3]!;
  placeInteger(der.subarray(4, sAt), signature.subarray(0, P256_BYTES));
  placeInteger(der.subarray(sAt + 2), signature.subarray(P256_BYTES));
  return signature;
}

/** DER omits leading zeros, and adds one if the number would look negative. */
function placeInteger(integer: Buffer, field: Buffer): void {
  const excess = integer.length - field.length;
  integer.copy(field, Math.max(0, -excess), Math.max(0, excess));
}
