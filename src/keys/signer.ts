/**
 * Signs JWTs: with elliptic curves at once and in one piece, for a job of its own costs more than the signature; with
 * RSA in Node's pool of threads, for there it is the signature that others would wait for.
 */
import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { JWK } from 'jose';

/** By JWS algorithm (RFC 7518, 3.4; RFC 8037): the digest, where the curve doesn't bring its own. */
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
  /** By `typ`: there are one or two. */
  readonly #headers = new Map<string | undefined, string>();

  private constructor(alg: string, kid: string, key: KeyObject) {
    this.#alg = alg;
    this.#kid = kid;
    this.#key = key;
    this.#digest = DIGESTS[alg]!;
  }

  /** `undefined` for an algorithm that few have use for: what signs with it is `jose`. */
  static of({ alg = '', kid = '', ...jwk }: JWK): Signer | undefined {
    if (!(alg in DIGESTS)) return undefined;
    return new Signer(alg, kid, createPrivateKey({ key: jwk, format: 'jwk' }));
  }

  /** A JWS in compact form (RFC 7515, 7.1). */
  sign(typ: string | undefined, claims: object): string | Promise<string> {
    const signed = `${this.#header(typ)}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    const signature = this.signBytes(Buffer.from(signed, 'latin1'));
    const compact = (its: Buffer): string => `${signed}.${its.toString('base64url')}`;
    return signature instanceof Promise ? signature.then(compact) : compact(signature);
  }

  /** A signature as JWS has it. */
  signBytes(data: Uint8Array): Buffer | Promise<Buffer> {
    if (this.#alg === 'RS256') return signInPool(this.#digest, data, this.#key);
    // with the key alone: telling Node which encoding is wanted, in an object, costs as much as the signature
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

/** An ECDSA signature of P-256 as JWS has it: both integers in full length, one after the other (RFC 7518, 3.4). */
function fromDer(der: Buffer): Buffer {
  const signature = Buffer.alloc(2 * P256_BYTES);
  // SEQUENCE, INTEGER r, INTEGER s: each with a length of one byte, for these are short
  const sAt = 4 + der[3]!;
  placeInteger(der.subarray(4, sAt), signature.subarray(0, P256_BYTES));
  placeInteger(der.subarray(sAt + 2), signature.subarray(P256_BYTES));
  return signature;
}

/** DER leaves zeros in front out, and puts one there where the number would look negative. */
function placeInteger(integer: Buffer, field: Buffer): void {
  const excess = integer.length - field.length;
  integer.copy(field, Math.max(0, -excess), Math.max(0, excess));
}
