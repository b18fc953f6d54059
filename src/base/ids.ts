/** Identifiers of letters and digits that can't be guessed or counted. */
import { randomBytes, randomUUID } from 'node:crypto';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** The bytes as one big-endian number in base 62, padded so that all values of one size have the same length. */
export function base62(bytes: Buffer): string {
  const length = Math.ceil((bytes.length * 8) / Math.log2(62));
  let rest = bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString('hex')}`);
  let digits = '';
  for (let i = 0; i < length; i++) {
    digits = BASE62.charAt(Number(rest % 62n)) + digits;
    rest /= 62n;
  }
  return digits;
}

/** A whole number below 2^32, written as `base62` writes its four bytes. Large whole numbers would take ten times as long. */
export function base62OfUint32(value: number): string {
  let rest = value;
  let digits = '';
  for (let i = 0; i < 6; i++) {
    digits = BASE62.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** The prefix of an identifier with 128 random bits, such as `client_3f…`. It names the kind of object. */
type Prefix =
  | 'client'
  | 'secret'
  | 'account'
  | 'key'
  | 'policy'
  | 'link'
  | 'group'
  | 'message'
  | 'initial_access_token'
  | 'passkey'
  | 'device';

export function randomId(prefix: Prefix): string {
  return `${prefix}_${base62(randomBytes(16))}`;
}

/** A UUID of version 7 (RFC 9562, section 5.7): later ones sort later, to the millisecond. */
export function timeOrderedUuid(now: Date): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now.getTime(), 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const LARGEST_TIME = 2 ** 48 - 1;

/** The same, made from a UUID of version 4. Node caches those, and this runs for each request. */
export function requestId(now: Date): string {
  const time = Math.min(Math.max(now.getTime(), 0), LARGEST_TIME);
  // two small numbers are faster than one large number
  const high = Math.floor(time / 0x1_0000).toString(16);
  const low = (time % 0x1_0000).toString(16);
  return `${high.padStart(8, '0')}-${low.padStart(4, '0')}-7${randomUUID().slice(15)}`;
}

/** The time in an id of `requestId`, to the millisecond; `undefined` if it is another id. */
export function timeOfRequestId(id: string): Date | undefined {
  const [, high, low] = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.exec(id) ?? [];
  return high === undefined || low === undefined ? undefined : new Date(Number.parseInt(high + low, 16));
}
