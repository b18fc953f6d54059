/** A passkey without a browser: one key pair that answers the options of our pages (WebAuthn Level 3, 6.1 and 6.5). */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import type { Gatehouse } from '../node/gatehouse.ts';
import { formsOf, PASSKEY_OPTIONS, valuesOf } from './forms.ts';
import type { Arrival, Person } from './person.ts';

const USER_PRESENT_AND_VERIFIED = 0x05;
const ATTESTED_CREDENTIAL = 0x40;

interface Options {
  readonly challenge: string;
  readonly rp?: { readonly id: string };
  readonly rpId?: string;
}

export class SoftwareAuthenticator {
  readonly #origin: string;
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly #credentialId = randomBytes(32);
  #counter = 0;

  /** `origin` is that of the pages. */
  constructor(origin: string) {
    this.#origin = origin;
  }

  /** Answers the options of `navigator.credentials.create`. */
  create(options: string): string {
    const { challenge, rp } = JSON.parse(options) as Options;
    const { x = '', y = '' } = this.#keys.publicKey.export({ format: 'jwk' });
    // kty EC2, alg ES256, crv P-256 (RFC 9053, 7.1.1)
    const key = Buffer.concat([bytesOf('a5010203262001215820'), coordinate(x), bytesOf('225820'), coordinate(y)]);
    const length = Buffer.from([0, this.#credentialId.length]);
    const credential = Buffer.concat([Buffer.alloc(16), length, this.#credentialId, key]);
    const data = Buffer.concat([this.#data(rp!.id, USER_PRESENT_AND_VERIFIED | ATTESTED_CREDENTIAL), credential]);
    const attestationObject = Buffer.concat([
      bytesOf('a363666d74646e6f6e656761747453746d74a068617574684461746158'),
      Buffer.from([data.length]),
      data,
    ]);
    return this.#answer({
      clientDataJSON: this.#clientData('webauthn.create', challenge).toString('base64url'),
      attestationObject: attestationObject.toString('base64url'),
      transports: ['internal'],
    });
  }

  /** Answers the options of `navigator.credentials.get`. */
  get(options: string): string {
    const { challenge, rpId } = JSON.parse(options) as Options;
    const clientData = this.#clientData('webauthn.get', challenge);
    this.#counter += 1;
    const data = this.#data(rpId!, USER_PRESENT_AND_VERIFIED);
    const signed = Buffer.concat([data, createHash('sha256').update(clientData).digest()]);
    return this.#answer({
      clientDataJSON: clientData.toString('base64url'),
      authenticatorData: data.toString('base64url'),
      signature: sign('sha256', signed, this.#keys.privateKey).toString('base64url'),
      userHandle: null,
    });
  }

  #answer(response: Readonly<Record<string, unknown>>): string {
    const id = this.#credentialId.toString('base64url');
    return JSON.stringify({ id, rawId: id, type: 'public-key', response });
  }

  #data(rpId: string, flags: number): Buffer {
    const head = Buffer.alloc(5);
    head.writeUInt8(flags);
    head.writeUInt32BE(this.#counter, 1);
    return Buffer.concat([createHash('sha256').update(rpId).digest(), head]);
  }

  #clientData(type: string, challenge: string): Buffer {
    return Buffer.from(JSON.stringify({ type, challenge, origin: this.#origin, crossOrigin: false }));
  }
}

function coordinate(text: string): Buffer {
  return Buffer.from(text, 'base64url');
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

/** Adds a passkey to the account of a person, who logs in again before. */
export async function addPasskey(
  { issuer }: Pick<Gatehouse, 'issuer'>,
  person: Person,
  passkey: SoftwareAuthenticator,
): Promise<void> {
  const url = `${issuer}/account/passkeys`;
  const opened = await person.walk(`${url}?login=again`);
  const [form] = formsOf(opened.page, opened.url).get('/account/passkeys') ?? [];
  const { form_token = '', [PASSKEY_OPTIONS]: options = '' } = valuesOf(form);
  const added = await person.submit(url, { form_token, name: 'A key', registration: passkey.create(options) });
  assert.match(added.page, /It has been added/);
}

/** Opens a page that leads to the login, and logs in there with the passkey alone. */
export async function logInWithPasskey(person: Person, passkey: SoftwareAuthenticator, url: string): Promise<Arrival> {
  const login = await person.open(url);
  const [form] = formsOf(login.page, login.url).get('/interaction/{uid}/passkey') ?? [];
  const { [PASSKEY_OPTIONS]: options = '' } = valuesOf(form);
  return person.submit(`${login.url}/passkey`, { passkey: passkey.get(options) });
}
