/**
 * A passkey made by a program, which can answer in ways that no browser does: with any attestation, client data,
 * credential id or key.
 */
import assert from 'node:assert/strict';
import { createHash, KeyObject, randomBytes, sign } from 'node:crypto';
import { isoCBOR } from '@simplewebauthn/server/helpers';
import { CRLDistributionPointsExtension, Extension } from '@peculiar/x509';
import { certify } from '../network/certificates.ts';

/** What `isoCBOR` can encode. */
type Encodable = Parameters<typeof isoCBOR.encode>[0];

export interface Attestation {
  readonly format: string;
  readonly statement: ReadonlyMap<string, Encodable>;
}

const NONE: Attestation = { format: 'none', statement: new Map() };
const ES256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const COSE_ES256 = -7;
/** The user is present and verified. */
const FLAGS = 0x05;
const FLAG_OF_CREDENTIAL = 0x40;

export interface RegistrationParts {
  /** In place of the challenge of the options: any JSON value. */
  readonly challenge?: unknown;
  readonly transports?: readonly string[];
  /** The id beside the authenticator's data, in place of the one in it. */
  readonly claimedId?: string;
  /** More members of the public key. */
  readonly keyMembers?: ReadonlyMap<number, Encodable>;
  /** Makes the attestation from what the passkey signs. */
  readonly attest?: (signed: Signed) => Promise<Attestation> | Attestation;
}

export interface Signed {
  readonly authenticatorData: Buffer;
  readonly clientDataHash: Buffer;
}

export class SoftwarePasskey {
  readonly id: Buffer;
  readonly #origin: string;
  readonly #keys: CryptoKeyPair;

  private constructor(origin: string, keys: CryptoKeyPair, idBytes: number) {
    this.#origin = origin;
    this.#keys = keys;
    this.id = randomBytes(idBytes);
  }

  static async of(issuer: string, { idBytes = 32 } = {}): Promise<SoftwarePasskey> {
    const keys = await crypto.subtle.generateKey(ES256, true, ['sign', 'verify']);
    return new SoftwarePasskey(new URL(issuer).origin, keys, idBytes);
  }

  /** The answer of `navigator.credentials.create`, as the page sends it. */
  async register(options: { readonly challenge: string }, parts: RegistrationParts = {}): Promise<string> {
    const { transports = ['internal'], claimedId = this.id.toString('base64url'), attest = () => NONE } = parts;
    const clientData = this.#clientData('webauthn.create', parts.challenge ?? options.challenge);
    const authenticatorData = Buffer.concat([
      this.#head(FLAGS | FLAG_OF_CREDENTIAL),
      Buffer.alloc(16),
      uint16(this.id.length),
      this.id,
      encode(await this.#publicKey(parts.keyMembers)),
    ]);
    const { format, statement } = await attest({ authenticatorData, clientDataHash: sha256(clientData) });
    const attestation = new Map<string, Encodable>([
      ['fmt', format],
      ['attStmt', new Map(statement)],
      ['authData', new Uint8Array(authenticatorData)],
    ]);
    return answer(claimedId, {
      clientDataJSON: clientData.toString('base64url'),
      attestationObject: encode(attestation).toString('base64url'),
      transports,
    });
  }

  /** The answer of `navigator.credentials.get`, as the page sends it. */
  assert(options: { readonly challenge: string }, challenge: unknown = options.challenge): string {
    const clientData = this.#clientData('webauthn.get', challenge);
    const authenticatorData = this.#head(FLAGS);
    return answer(this.id.toString('base64url'), {
      clientDataJSON: clientData.toString('base64url'),
      authenticatorData: authenticatorData.toString('base64url'),
      signature: this.#sign({ authenticatorData, clientDataHash: sha256(clientData) }).toString('base64url'),
      userHandle: null,
    });
  }

  /** A signature with the passkey's own key, as some authenticators send it. */
  selfAttestation(signed: Signed): Attestation {
    const signature = new Uint8Array(this.#sign(signed));
    const statement = new Map<string, Encodable>([
      ['alg', COSE_ES256],
      ['sig', signature],
    ]);
    return { format: 'packed', statement };
  }

  /** An attestation of an Android device that names `revocationList` in its certificate and brings its own root. */
  async androidAttestation(signed: Signed, revocationList: string): Promise<Attestation> {
    const root = await certify({ subject: 'CN=root', authority: true });
    const extensions = [
      new Extension(ANDROID_KEY_DESCRIPTION, false, keyDescription(signed.clientDataHash)),
      new CRLDistributionPointsExtension([revocationList]),
    ];
    const leaf = await certify({ subject: 'CN=leaf', by: root, keys: this.#keys, extensions });
    const chain = [leaf, root].map(({ certificate }) => new Uint8Array(certificate.raw));
    const { statement } = this.selfAttestation(signed);
    return { format: 'android-key', statement: new Map<string, Encodable>([...statement, ['x5c', chain]]) };
  }

  async #publicKey(more: ReadonlyMap<number, Encodable> = new Map()): Promise<Map<number, Encodable>> {
    const { x, y } = await crypto.subtle.exportKey('jwk', this.#keys.publicKey);
    assert.ok(x !== undefined && y !== undefined);
    const coordinate = (text: string) => new Uint8Array(Buffer.from(text, 'base64url'));
    return new Map<number, Encodable>([
      [1, 2],
      [3, COSE_ES256],
      [-1, 1],
      [-2, coordinate(x)],
      [-3, coordinate(y)],
      ...more,
    ]);
  }

  #clientData(type: string, challenge: unknown): Buffer {
    return Buffer.from(JSON.stringify({ type, challenge, origin: this.#origin, crossOrigin: false }));
  }

  /** The authenticator's data up to its counter, which stays 0. */
  #head(flags: number): Buffer {
    return Buffer.concat([sha256(new URL(this.#origin).hostname), Buffer.from([flags]), Buffer.alloc(4)]);
  }

  #sign({ authenticatorData, clientDataHash }: Signed): Buffer {
    return sign('sha256', Buffer.concat([authenticatorData, clientDataHash]), KeyObject.from(this.#keys.privateKey));
  }
}

const ANDROID_KEY_DESCRIPTION = '1.3.6.1.4.1.11129.2.1.17';

/** The extension's value in DER: version 3, keymaster 4, both in hardware, the challenge, and three empty members. */
function keyDescription(clientDataHash: Buffer): Uint8Array<ArrayBuffer> {
  const members = `0201030a01010201040a01010420${clientDataHash.toString('hex')}040030003000`;
  return new Uint8Array(Buffer.from(`30${(members.length / 2).toString(16).padStart(2, '0')}${members}`, 'hex'));
}

function answer(id: string, response: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ id, rawId: id, type: 'public-key', response });
}

function encode(value: Encodable): Buffer {
  return Buffer.from(isoCBOR.encode(value));
}

function sha256(data: string | Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
